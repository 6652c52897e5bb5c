package door

import (
	"context"
	"net/http"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/redact"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// call answers one request through a plugin, or streams its events.
func (d *door) call(w http.ResponseWriter, r *http.Request) error {
	v, err := d.open(r.Context(), r, host.SessionCall)
	if err != nil {
		return err
	}
	defer v.close()
	if v.call.Match.Kind == manifest.Events {
		switch {
		case r.ContentLength != 0:
			return host.E(host.Invalid, "", "a request for an event stream must have no body")
		case r.Method == http.MethodHead:
			eventHeader(w.Header())
			w.WriteHeader(http.StatusOK)
			return nil
		}
		return d.events(w, r, v)
	}
	if v.call.Body, err = d.gateway.ReadBody(v.session.Context(), w, r, v.plugin.BodyBytes()); err != nil {
		return err
	}
	ctl := http.NewResponseController(w)
	defer v.session.OnEnd(func(error) { _ = ctl.SetWriteDeadline(time.Now().Add(gateway.Linger)) })()
	ctx, cancel := context.WithTimeout(v.session.Context(), v.plugin.Timeout())
	defer cancel()
	resp, err := v.plugin.Handle(ctx, v.call)
	if err != nil {
		return err
	}
	if resp.Body, err = redact.JSON(resp.Body, v.call.Obligations.Redact); err != nil {
		gateway.RequestOf(r.Context()).Log.Error("an answer that must be redacted is "+err.Error(), "action", string(v.call.Caller.Route.Action))
		return &host.Error{Kind: host.Forbidden, Message: "you may not see this answer", Detail: "not_redactable"}
	}
	if !v.session.Alive() {
		return v.session.Cause()
	}
	return d.writeResponse(w, r, v, resp)
}
