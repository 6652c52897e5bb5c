package admin

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
)

// auditRoutes are the routes below /api/admin/audit.
func (a *admin) auditRoutes() []gateway.Route {
	return []gateway.Route{
		{Method: "GET", Path: "/api/admin/audit", Action: "admin:audit.read", Handle: a.auditRecords},
		{Method: "GET", Path: "/api/admin/audit/verify", Action: "admin:audit.verify.read", Handle: a.auditVerify},
		{Method: "GET", Path: "/api/admin/audit/export", Action: "admin:audit.export.read", Handle: a.auditExport},
	}
}

// withdraws are the actions that only take rights away, so that nothing may delay them.
var withdraws = map[host.Action]bool{"admin:sessions.end": true}

// looks are the prefixes of actions that show what users did.
var looks = []string{"admin:audit.", "admin:recordings."}

// audited calls handle, with a record before and after a change, and before a look.
func (a *admin) audited(w http.ResponseWriter, r *http.Request, q *host.Question, handle gateway.Handler) (err error) {
	e := &audit.Event{
		Kind: audit.KindAdmin, Action: q.Route.Action, Target: targetOf(r), Principal: q.Principal, Reason: q.Reason, Route: q.Route,
		Remote: a.gateway.Authn.RemoteAddr(r),
	}
	ctx := r.Context()
	switch {
	case !q.Route.Mutates:
		if slices.ContainsFunc(looks, func(p string) bool { return strings.HasPrefix(string(q.Route.Action), p) }) {
			e.Kind = audit.KindRead
			if err := a.Audit.Look(ctx, e); err != nil {
				return err
			}
		}
		return handle(w, r)
	case withdraws[q.Route.Action]:
		defer func() { a.Audit.Note(ctx, e, audit.Outcome{Err: err}) }()
		return handle(w, r)
	}
	x, err := a.Audit.Begin(ctx, e)
	if err != nil {
		gateway.RequestOf(ctx).Log.Error("a change is refused because it cannot be recorded", "action", string(q.Route.Action), "error", err)
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			x.End(audit.Outcome{Result: audit.Unknown, Err: fmt.Errorf("panic: %v", p)})
			panic(p)
		}
		x.End(audit.Outcome{Err: err})
	}()
	return handle(w, r)
}

// maxTarget bounds the target of a request in a record, in bytes.
const maxTarget = 500

// targetOf returns what a request names: the variable parts of its path, and its query.
func targetOf(r *http.Request) string {
	vars, parts := gateway.Vars(r), []string{}
	for _, key := range slices.Sorted(maps.Keys(vars)) {
		parts = append(parts, vars[key])
	}
	target := strings.Join(parts, "/")
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	return target[:min(len(target), maxTarget)]
}

// auditRecords handles GET /api/admin/audit?FILTER&order=&cursor=&limit=&follow=true: the
// records that this replica keeps. With follow they are sent as events as they are written.
func (a *admin) auditRecords(w http.ResponseWriter, r *http.Request) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return host.E(host.Invalid, "", "the query is not encoded properly")
	}
	follow, err := boolean("follow", values.Get("follow"))
	if err != nil {
		return err
	}
	values.Del("follow")
	q, err := audit.ParseQuery(values)
	if err != nil {
		return err
	}
	store, err := a.Audit.Store()
	if err != nil {
		return err
	}
	if follow {
		return a.followAudit(w, r, store, q)
	}
	page, err := store.Search(r.Context(), q)
	if err != nil {
		return err
	}
	gateway.WriteJSON(w, http.StatusOK, struct {
		*audit.Page
		Replica string `json:"replica"`
	}{page, a.Sessions.Replica()})
	return nil
}

// keepAlive is how often a stream without records sends a comment, so that proxies keep it
// and a client that went away is noticed.
const keepAlive = 15 * time.Second

// followAudit sends the records after the cursor, or from now on, as server-sent events.
func (a *admin) followAudit(w http.ResponseWriter, r *http.Request, store *audit.Store, q *audit.Query) (err error) {
	cursor := q.Cursor
	if cursor == 0 {
		if cursor, err = store.Last(); err != nil {
			return err
		}
	}
	ctl := http.NewResponseController(w)
	send := func(format string, args ...any) bool {
		if r.Context().Err() != nil { // authority is gone
			return false
		}
		_ = ctl.SetWriteDeadline(time.Now().Add(keepAlive))
		_, err := fmt.Fprintf(w, format, args...)
		return err == nil && ctl.Flush() == nil
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead || !send(": records follow\n\n") {
		return nil
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		changed := store.Changed()
		if now, err := a.Audit.Store(); err != nil || now.Dir != store.Dir {
			return nil // the records are kept elsewhere from now on
		}
		records, next, err := store.After(r.Context(), cursor, &q.Filter)
		for _, record := range records {
			if !send("data: %s\n\n", record) {
				return nil
			}
		}
		if err != nil || r.Context().Err() != nil {
			return nil // the answer has begun
		}
		cursor = next
		select {
		case <-changed:
		case <-tick.C:
			if !send(": \n\n") {
				return nil
			}
		case <-r.Context().Done():
			return nil
		}
	}
}

// auditVerify handles GET /api/admin/audit/verify: whether this replica's chain is what the
// host wrote.
func (a *admin) auditVerify(w http.ResponseWriter, r *http.Request) error {
	if _, err := only(r); err != nil {
		return err
	}
	store, err := a.Audit.Store()
	if err != nil {
		return err
	}
	report, err := store.Verify()
	if err != nil {
		return err
	}
	gateway.WriteJSON(w, http.StatusOK, report)
	return nil
}

// auditExport handles GET /api/admin/audit/export?FILTER: the selected records as JSON
// lines, the oldest first.
func (a *admin) auditExport(w http.ResponseWriter, r *http.Request) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return host.E(host.Invalid, "", "the query is not encoded properly")
	}
	q, err := audit.ParseQuery(values)
	if err != nil {
		return err
	}
	store, err := a.Audit.Store()
	if err != nil {
		return err
	}
	ctl := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/jsonl")
	return store.Export(r.Context(), &q.Filter, func(line []byte) error {
		_ = ctl.SetWriteDeadline(time.Now().Add(keepAlive))
		_, err := fmt.Fprintf(w, "%s\n", line)
		return err
	})
}
