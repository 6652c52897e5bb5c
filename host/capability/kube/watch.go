package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// A watch is fetched in parts: a call waits for the first events after a resourceVersion,
// and answers with them. The next call goes on at the last of them, so a plugin misses
// nothing, and every part is permitted anew.
const (
	longestPart = 25 * time.Second       // that a call waits for an event
	gathering   = 100 * time.Millisecond // from the first event to the answer
	maxEvents   = 1000                   // of one answer
	// An answer of so many bytes is complete; the last event of it may be longer.
	enoughBytes  = 1 << 20
	longestEvent = abi.MaxBody - enoughBytes
)

// checkWatch returns what is wrong with a watch. One that begins at no resourceVersion
// begins with the objects that exist in no order, and could not be continued.
func checkWatch(q *request) error {
	query, segments := q.target.Query, q.target.Segments
	at := 2 // of the resource in a path below /api
	if segments[0] == "apis" {
		at = 3
	}
	is := query["watch"]
	switch version := query["resourceVersion"]; {
	case q.access.Verb != "watch" || len(is) != 1 || is[0] != "true" && is[0] != "1" || query.Has("follow") || segments[at] == "watch":
		return host.E(host.Invalid, name, "an answer without an end cannot be fetched")
	case len(version) != 1 || version[0] == "" || version[0] == "0":
		return host.E(host.Invalid, name, "a watch needs the resourceVersion of a list")
	case query.Has("sendInitialEvents"):
		return host.E(host.Invalid, name, "a watch cannot have sendInitialEvents; list the objects first")
	}
	_, err := waitOf(q)
	return err
}

// waitOf returns how long a watch may wait for its first event.
func waitOf(q *request) (time.Duration, error) {
	given := q.target.Query["timeoutSeconds"]
	if len(given) == 0 {
		return longestPart, nil
	}
	n, err := strconv.Atoi(given[0])
	if err != nil || len(given) > 1 || n < 1 {
		return 0, host.E(host.Invalid, name, "timeoutSeconds must be a number from 1")
	}
	return min(time.Duration(n)*time.Second, longestPart), nil
}

// part fetches the next events of a watch: lines of JSON as the API server writes them, none
// if nothing has happened in time.
func part(ctx context.Context, client *cluster.Client, q *request) (*abi.Response, error) {
	wait, err := waitOf(q)
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	query := q.target.Query
	query.Set("timeoutSeconds", strconv.Itoa(int(wait/time.Second)))
	g := &gathered{enough: cancel}
	defer g.stop()
	err = client.Lines(waiting, &cluster.Request{Method: q.method, Path: q.path, Query: query, Header: q.header, Limit: longestEvent}, g.add)
	if g.failed != nil {
		err = g.failed
	}
	if quiet := g.failed == nil && waiting.Err() != nil && ctx.Err() == nil; err != nil && g.lines.Len() == 0 && !quiet {
		return nil, err
	}
	// What came before a failure is answered; the next call meets the failure.
	return &abi.Response{Status: 200, Header: []abi.Pair{{Name: "Content-Type", Value: "application/json;stream=watch"}}, Body: g.lines.Bytes()}, nil
}

// gathered are the events of one part.
type gathered struct {
	lines  bytes.Buffer
	events int
	failed error  // of the watch
	enough func() // ends the wait for more
	timer  *time.Timer
}

// add takes a line of the watch and reports whether there is room for more.
func (g *gathered) add(line []byte) bool {
	var event struct {
		Type   string          `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := json.Unmarshal(line, &event); err != nil {
		g.failed = &host.Error{Kind: host.Upstream, Op: name, Message: "an event of the cluster cannot be read", Err: err}
		return false
	}
	if event.Type == "ERROR" {
		g.failed = errorEvent(event.Object)
		return false
	}
	g.lines.Write(line)
	g.lines.WriteByte('\n')
	if event.Type != "BOOKMARK" && g.timer == nil {
		g.timer = time.AfterFunc(gathering, g.enough)
	}
	g.events++
	return g.events < maxEvents && g.lines.Len() < enoughBytes
}

func (g *gathered) stop() {
	if g.timer != nil {
		g.timer.Stop()
	}
}

// errorEvent is the refusal that ends a watch, such as 410 if its resourceVersion is too old.
func errorEvent(object []byte) error {
	var status struct {
		Code int `json:"code"`
	}
	if err := json.Unmarshal(object, &status); err != nil || status.Code < 400 || status.Code > 599 {
		return host.E(host.Upstream, name, "the cluster ended the watch without a reason")
	}
	return (&cluster.Response{Status: status.Code, Body: object}).Err()
}
