package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/google/uuid"
)

// The ids of this Azure.
const (
	subscription = "00000000-0000-4000-8000-00000000000a"
	tenant       = "00000000-0000-4000-8000-00000000000b"
	clientID     = "00000000-0000-4000-8000-00000000000c"
)

const pollerStatus = "Fake-Poller-Status" // header in which the fake servers return an operation's state

// fake is the listener. It makes the SDK's fake servers, which work within a process,
// available over HTTP like Azure Resource Manager: it finds the API for method and path,
// checks the token, links pages by $skiptoken and operations by Azure-AsyncOperation, and
// writes errors as ARM does.
type fake struct {
	url       string
	options   options
	inventory *inventory

	mu         sync.Mutex
	tokens     map[string]bool
	operations map[string]*operation
	requests   []Request
	faults     []*Fault
	held       bool
}

func newFake(url string, o options) *fake {
	return &fake{
		url: url, options: o, inventory: newInventory(o.polls),
		tokens: map[string]bool{}, operations: map[string]*operation{},
	}
}

// Request is a request that reached the listener of Azure Resource Manager.
type Request struct {
	Method      string `json:"method"`
	URI         string `json:"uri"` // as it was on the wire
	Body        string `json:"body,omitempty"`
	Status      int    `json:"status"`
	Correlation string `json:"correlation"`
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.authority(w, r) {
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	id := r.Header.Get("X-Ms-Correlation-Request-Id")
	if _, err := uuid.Parse(id); err != nil {
		id = uuid.NewString()
	}
	w.Header().Set("X-Ms-Correlation-Request-Id", id)
	w.Header().Set("X-Ms-Request-Id", uuid.NewString())
	seen := &Request{Method: r.Method, URI: r.RequestURI, Body: string(body), Correlation: id}
	cw := &statusWriter{ResponseWriter: w}
	defer func() {
		seen.Status = cw.status
		f.mu.Lock()
		f.requests = append(f.requests, *seen)
		f.mu.Unlock()
	}()
	if f.faulty(cw, r) {
		return
	}
	f.arm(cw, r)
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (f *fake) arm(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	f.mu.Lock()
	known := f.tokens[token]
	f.mu.Unlock()
	if !known {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		fail(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
		return
	}
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/subscriptions/"+subscription)
	if !ok {
		fail(w, http.StatusNotFound, "SubscriptionNotFound", "The subscription could not be found.")
		return
	}
	if m := operationRE.FindStringSubmatch(rest); m != nil && r.Method == http.MethodGet {
		f.poll(w, m[1])
		return
	}
	version := r.URL.Query().Get("api-version")
	for _, route := range routes {
		if route.method != r.Method || !route.path.MatchString(rest) {
			continue
		}
		if version != route.version {
			fail(w, http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '"+version+"' is invalid.")
			return
		}
		f.dispatch(w, r, route)
		return
	}
	fail(w, http.StatusNotFound, "InvalidResourceType", "The resource type could not be found.")
}

// dispatch passes the request to a new set of the SDK's fake servers, because they keep
// pages and operations by path, which is wrong if two clients list at the same time.
func (f *fake) dispatch(w http.ResponseWriter, r *http.Request, route route) {
	transport := route.server(f.inventory)
	req := r.Clone(context.WithValue(r.Context(), runtime.CtxAPINameKey{}, route.api))
	req.URL.Scheme, req.URL.Host = "https", r.Host
	page, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Query().Get("$skiptoken"), "page_"))
	resp, err := transport.Do(req)
	for i := 0; i < page && err == nil; i++ {
		resp, err = transport.Do(req)
	}
	if err != nil {
		failErr(w, err)
		return
	}
	defer resp.Body.Close()
	if status := resp.Header.Get(pollerStatus); status != "" {
		f.begin(w, r, route, transport, resp.StatusCode)
		return
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		failErr(w, err)
		return
	}
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(linkPage(body, req.URL, page))
}

// linkPage writes the link to the next page as ARM does.
func linkPage(body []byte, at *url.URL, page int) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || len(fields["nextLink"]) == 0 || string(fields["nextLink"]) == "null" {
		return body
	}
	next := *at
	q := next.Query()
	q.Set("$skiptoken", "page_"+strconv.Itoa(page+1))
	next.RawQuery = q.Encode()
	fields["nextLink"], _ = json.Marshal(next.String()) // strings encode
	linked, err := json.Marshal(fields)
	if err != nil {
		return body
	}
	return linked
}

// operation is a change in progress.
type operation struct {
	mu        sync.Mutex
	transport transporter
	req       *http.Request
	started   time.Time
	ended     time.Time
	status    string
	code      string
}

var operationRE = regexp.MustCompile(`^/providers/[^/]+/locations/[^/]+/operations/([0-9a-f-]+)$`)

// begin answers that a change is in progress, with the status that the API uses for that,
// which for some is 204.
func (f *fake) begin(w http.ResponseWriter, r *http.Request, route route, transport transporter, status int) {
	req := r.Clone(context.WithValue(context.Background(), runtime.CtxAPINameKey{}, route.api))
	req.URL.Scheme, req.URL.Host = "https", r.Host
	id := uuid.NewString()
	f.mu.Lock()
	f.operations[id] = &operation{transport: transport, req: req, started: time.Now(), status: "InProgress"}
	f.mu.Unlock()
	at := *r.URL
	at.Path = "/subscriptions/" + subscription + "/providers/" + route.provider + "/locations/westeurope/operations/" + id
	at.RawQuery = url.Values{"api-version": {route.version}, "t": {"638000000000000000"}, "c": {"signature-" + id}}.Encode()
	at.Scheme, at.Host = "https", r.Host
	w.Header().Set("Azure-AsyncOperation", at.String())
	w.Header().Set("Location", at.String()+"&monitor=true")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(status)
}

func (f *fake) poll(w http.ResponseWriter, id string) {
	f.mu.Lock()
	op, held := f.operations[id], f.held
	f.mu.Unlock()
	if op == nil {
		fail(w, http.StatusNotFound, "OperationNotFound", "The operation could not be found.")
		return
	}
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.ended.IsZero() && !held {
		op.advance()
	}
	answer := map[string]any{"name": id, "status": op.status, "startTime": op.started.UTC().Format(time.RFC3339)}
	if !op.ended.IsZero() {
		answer["endTime"] = op.ended.UTC().Format(time.RFC3339)
	} else {
		w.Header().Set("Retry-After", "1")
	}
	if op.code != "" {
		answer["error"] = map[string]string{"code": op.code, "message": "The operation failed."}
	}
	writeJSON(w, http.StatusOK, answer)
}

func (o *operation) advance() {
	resp, err := o.transport.Do(o.req)
	if err != nil {
		o.status, o.code = "Failed", "InternalError"
		if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
			o.code = e.ErrorCode
		}
	} else {
		o.status = resp.Header.Get(pollerStatus)
		_ = resp.Body.Close()
	}
	if o.status != "InProgress" {
		o.ended = time.Now()
	}
}

func failErr(w http.ResponseWriter, err error) {
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		fail(w, e.StatusCode, e.ErrorCode, "The request failed: "+e.ErrorCode+".")
		return
	}
	fail(w, http.StatusInternalServerError, "InternalServerError", err.Error())
}

func fail(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}
