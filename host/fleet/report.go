package fleet

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// report describes this replica. It needs f.mu.
func (f *Fleet) report(status map[string]plugin.Status) map[string]Running {
	out := map[string]Running{}
	for name, st := range status {
		r := Running{Origin: st.Origin}
		if g := generation(st, plugin.Serving); g != nil {
			r.Digest, r.Version, r.Generation, r.Phase = g.Digest, g.Version, g.Number, Done
		}
		if g := generation(st, plugin.IsCanary); g != nil {
			r.Canary = g.Digest
		}
		if st.Waiting != nil {
			r.Waiting = st.Waiting.Comparison.Digest
		}
		if st.Origin == plugin.File && st.Failed != nil {
			r.Step, r.Reason = string(st.Failed.Step), text(errors.New(st.Failed.Reason))
		}
		out[name] = r
	}
	for name, w := range f.names {
		r := out[name]
		if w.phase == Refused { // the file's plugin has this name
			r.Refused = w.reason
			out[name] = r
			continue
		}
		r.Origin, r.Revision, r.Phase, r.Step, r.Reason = plugin.API, w.revision, w.phase, w.step, w.reason
		if w.unverified != "" {
			r.Phase, r.Step, r.Reason = Failing, string(plugin.StepVerify), w.unverified
		}
		out[name] = r
	}
	return out
}

// send reports to the other replicas.
func (f *Fleet) send(report map[string]Running) {
	text, err := json.Marshal(report)
	if err == nil {
		err = f.Store.Report(text)
	}
	if err != nil {
		f.Logger.Error("this replica cannot report what it runs", "error", err)
	}
}

// Problem is what keeps this replica from running what is desired; nil if nothing
// does.
func (f *Fleet) Problem() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, name := range sortedKeys(f.names) {
		switch w := f.names[name]; {
		case w.unverified != "":
			errs = append(errs, errors.New(name+": "+string(plugin.StepVerify)+": "+w.unverified))
		case w.phase == Failing || w.phase == Refused:
			errs = append(errs, errors.New(name+": "+w.step+": "+w.reason))
		case f.held[name]:
			errs = append(errs, fmt.Errorf("%s: this replica was cut off and applies revision %d; requests are answered 503 until then", name, w.revision))
		case w.phase == Applying:
			errs = append(errs, fmt.Errorf("%s: revision %d is being applied", name, w.revision))
		}
	}
	return errors.Join(errs...)
}
