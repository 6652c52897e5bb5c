package server

import (
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// A call that has begun on a plugin which is replaced goes on until its own time limit, and
// the replaced plugin is gone with it.
func TestACallOnAReplacedPluginEndsByItsOwnLimit(t *testing.T) {
	w := light(t, "")
	good := lightConfig(t)
	entry := func(text string) {
		t.Helper()
		w.write(t, "bulkhead.yaml", strings.Replace(good, "{name: echo, ", "{name: echo, "+text+", ", 1))
		w.reload(t)
	}
	entry("limits: {timeout: 3s}")
	vic := w.as(t, "vic")
	alive := func() (list []plugin.GenerationStatus) {
		for _, s := range w.server.plugins.Status() {
			list = append(list, s.Generations...)
		}
		return list
	}
	ended := make(chan answer, 1)
	go func() { ended <- vic.get("/api/echo/sleep?ms=600000") }()
	eventually(t, "the call to begin", func() bool {
		list := alive()
		return len(list) == 1 && list[0].Leases == 1
	})
	entry("limits: {timeout: 3s}, config: {n: 1}")
	list := alive()
	select {
	case got := <-ended: // on a machine that took so long
		ended <- got
	default:
		if len(list) != 2 || list[0].State != plugin.Draining || list[0].Leases != 1 || list[1].State != plugin.Serving {
			t.Errorf("while the call goes on: %+v", list)
		}
	}
	expect(t, vic.get("/api/echo/echo"), 200, "the next call")
	expect(t, <-ended, 504, "the call, at its limit")
	eventually(t, "the replaced plugin to be gone", func() bool { return len(alive()) == 1 })
}
