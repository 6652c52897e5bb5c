package server

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkDemotion takes uninstalling and echo from editors by a file of the
// directory. Both clocks run from the write: until a request is refused that was
// not, asked again and again, and until a socket that was open has ended.
func BenchmarkDemotion(b *testing.B) {
	w := ownHost(b)
	eve := w.as(b, "eve")
	uninstall := func() int { return eve.post("/api/gitops/helm-uninstall", "{}").status }
	var refused, ended []time.Duration
	for b.Loop() {
		conn, refusal := eve.dial("/ws/echo")
		if conn == nil {
			b.Fatalf("dial: %v", refusal)
		}
		began := time.Now()
		closed := make(chan time.Duration, 1)
		go func() {
			_ = conn.SetReadDeadline(began.Add(time.Minute))
			_, _, _ = conn.ReadMessage()
			closed <- time.Since(began)
		}()
		w.write(b, "directory/editor.yaml", roleFor)
		for uninstall() != 403 {
			if time.Since(began) > time.Minute {
				b.Fatal("an editor goes on")
			}
		}
		refused, ended = append(refused, time.Since(began)), append(ended, <-closed)
		conn.Close()
		if err := os.Remove(filepath.Join(w.dir, "directory/editor.yaml")); err != nil {
			b.Fatal(err)
		}
		eventually(b, "an editor to be one again", func() bool { return uninstall() == 400 })
	}
	b.ReportMetric(0, "ns/op") // half of it is giving it back
	reportMs(b, "refused", refused)
	reportMs(b, "ended", ended)
}
