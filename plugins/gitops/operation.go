package main

import (
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/helm"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

func init() { session.Handle("helm-operation-stream", operationStream) }

const mostWait = 20 // seconds

// begun answers 202 with a change that goes on in the background, or 200 if it has ended.
func begun(o *helm.Operation, err error) (*sdk.Response, error) {
	if err != nil {
		return nil, err
	}
	status := 200
	if o.Status == "InProgress" {
		status = 202
	}
	return sdk.JSON(status, o)
}

// respondAsync is the preference for an answer before the end (RFC 7240, section 4.1).
const respondAsync = "respond-async"

// background reports whether a change is asked for in the background.
func background(r *sdk.Request, async bool) bool { return async || prefersAsync(r) }

func prefersAsync(r *sdk.Request) bool {
	for preference := range strings.SplitSeq(r.Header("Prefer"), ",") {
		name, _, _ := strings.Cut(preference, ";")
		if strings.EqualFold(strings.TrimSpace(name), respondAsync) {
			return true
		}
	}
	return false
}

// started is begun for a change that the request has begun: the answer says where it can be
// followed, and that the preference was heeded.
func started(r *sdk.Request, cluster, namespace, release string) func(*helm.Operation, error) (*sdk.Response, error) {
	return func(o *helm.Operation, err error) (*sdk.Response, error) {
		resp, err := begun(o, err)
		if err != nil {
			return nil, err
		}
		query := url.Values{"namespace": {namespace}, "release": {release}, "id": {o.ID}}
		if cluster != "" {
			query.Set("cluster", cluster)
		}
		resp.With("Location", "helm-operation?"+query.Encode())
		if prefersAsync(r) {
			resp.With("Preference-Applied", respondAsync)
		}
		return resp, nil
	}
}

// operation answers how a change in the background goes: 202 while it runs.
func operation(r *sdk.Request) (*sdk.Response, error) {
	cluster, namespace, release, err := oneRelease(r)
	if err != nil {
		return nil, err
	}
	id := r.Query("id")
	if id == "" {
		return nil, sdk.Errorf(400, "id is required")
	}
	wait := 0
	if text := r.Query("wait"); text != "" {
		if wait, err = strconv.Atoi(text); err != nil || wait < 0 || wait > mostWait {
			return nil, sdk.Errorf(400, "wait must be a number of seconds from 0 to %d", mostWait)
		}
	}
	return begun(cluster.Operation(namespace, release, id, wait))
}

// operationStream sends an operation whenever it has changed, until it has ended.
func operationStream(r *sdk.Request, s *session.Session) error {
	cluster, namespace, release, err := oneRelease(r)
	if err != nil {
		return err
	}
	id := r.Query("id")
	if id == "" {
		return sdk.Errorf(400, "id is required")
	}
	last := ""
	for {
		o, err := cluster.Operation(namespace, release, id, 0)
		if err != nil {
			return err
		}
		text, err := json.Marshal(o)
		if err != nil {
			return err
		}
		if string(text) != last {
			last = string(text)
			if err := s.SendEvent("operation", "", last); err != nil {
				return session.Done(err)
			}
		}
		if o.Status != "InProgress" {
			return session.Done(s.SendEvent("done", "", "{}"))
		}
		if _, err := s.Next(lookEvery); !errors.Is(err, session.ErrTimeout) {
			return session.Done(err)
		}
	}
}

type cancelBody struct {
	Release   string `json:"release"`
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster"`
	ID        string `json:"id"`
}

// cancel stops a change in the background that the person has begun.
func cancel(r *sdk.Request) (*sdk.Response, error) {
	var b cancelBody
	if err := r.JSON(&b); err != nil {
		return nil, err
	}
	if b.Release == "" || b.Namespace == "" || b.ID == "" {
		return nil, sdk.Errorf(400, "release, namespace, and id are required")
	}
	cluster, err := target(b.Cluster, b.Namespace, b.Release)
	if err != nil {
		return nil, err
	}
	return begun(cluster.Cancel(b.Namespace, b.Release, b.ID))
}
