package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"time"
)

// Fault is an injected fault, before or instead of an answer. Empty fields match everything
// or do nothing.
type Fault struct {
	Method     string `json:"method,omitempty"`
	Path       string `json:"path,omitempty"`  // a regular expression on the URI
	Times      int    `json:"times,omitempty"` // number of requests that it affects; 0: all
	Status     int    `json:"status,omitempty"`
	Code       string `json:"code,omitempty"`
	Message    string `json:"message,omitempty"`
	RetryAfter string `json:"retryAfter,omitempty"`
	DelayMS    int    `json:"delayMs,omitempty"`
	Drop       bool   `json:"drop,omitempty"` // close the connection
	Body       string `json:"body,omitempty"` // instead of ARM's error
	Location   string `json:"location,omitempty"`

	path *regexp.Regexp
}

// control serves
//
//	GET    /requests  the requests to Azure Resource Manager, oldest first
//	DELETE /requests  forget them
//	POST   /faults    add a Fault
//	DELETE /faults    remove all
//	POST   /hold      operations stay in progress until …
//	POST   /release   … this
//	POST   /expire    every token is refused from now on
//	GET    /identity  a managed identity's token, as Azure App Service gives it
func (f *fake) control() http.Handler {
	mux := http.NewServeMux()
	locked := func(pattern string, do func(w http.ResponseWriter, r *http.Request)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			do(w, r)
		})
	}
	locked("GET /requests", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, append([]Request{}, f.requests...))
	})
	locked("DELETE /requests", func(http.ResponseWriter, *http.Request) { f.requests = nil })
	locked("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var fault Fault
		err := json.NewDecoder(r.Body).Decode(&fault)
		if err == nil {
			fault.path, err = regexp.Compile(fault.Path)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f.faults = append(f.faults, &fault)
	})
	locked("DELETE /faults", func(http.ResponseWriter, *http.Request) { f.faults = nil })
	locked("POST /hold", func(http.ResponseWriter, *http.Request) { f.held = true })
	locked("POST /release", func(http.ResponseWriter, *http.Request) { f.held = false })
	locked("POST /expire", func(http.ResponseWriter, *http.Request) { clear(f.tokens) })
	mux.HandleFunc("GET /identity", f.identity)
	return mux
}

// faulty applies the first fault that matches, and reports whether it has
// answered.
func (f *fake) faulty(w http.ResponseWriter, r *http.Request) bool {
	fault := f.takeFault(r)
	if fault == nil {
		return false
	}
	if fault.DelayMS > 0 {
		select {
		case <-time.After(time.Duration(fault.DelayMS) * time.Millisecond):
		case <-r.Context().Done():
			return true
		}
	}
	if fault.Drop {
		panic(http.ErrAbortHandler)
	}
	if fault.RetryAfter != "" {
		w.Header().Set("Retry-After", fault.RetryAfter)
	}
	if fault.Location != "" {
		w.Header().Set("Location", fault.Location)
		w.Header().Set("Azure-AsyncOperation", fault.Location)
	}
	switch {
	case fault.Status == 0 && fault.Body == "":
		return false
	case fault.Body != "":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(max(fault.Status, http.StatusOK))
		_, _ = fmt.Fprint(w, fault.Body)
	default:
		fail(w, fault.Status, fault.Code, fault.Message)
	}
	return true
}

func (f *fake) takeFault(r *http.Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, fault := range f.faults {
		if fault.Method != "" && fault.Method != r.Method || !fault.path.MatchString(r.RequestURI) {
			continue
		}
		if fault.Times > 0 {
			if fault.Times--; fault.Times == 0 {
				f.faults = append(f.faults[:i:i], f.faults[i+1:]...)
			}
		}
		return fault
	}
	return nil
}
