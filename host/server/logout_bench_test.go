package server

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/session"
)

// BenchmarkLogout ends 10,000 live sessions of one login, each with a stream, by
// one POST /auth/logout: on one host with its own store, and spread over three
// on a cluster of three members. Each clock runs from the request: until no
// session has authority, until every stream was told to close, until the answer.
func BenchmarkLogout(b *testing.B) {
	for _, c := range []struct {
		name  string
		hosts int
	}{{"one", 1}, {"three", 3}} {
		b.Run(c.name, func(b *testing.B) {
			all := seats(b, c.hosts, 10_000)
			var authority, streams, answer []time.Duration
			for b.Loop() {
				a, s, r := logoutOf(b, all, 10_000)
				authority, streams, answer = append(authority, a), append(streams, s), append(answer, r)
			}
			b.ReportMetric(0, "ns/op") // most of it is opening the sessions
			reportMs(b, "authority", authority)
			reportMs(b, "streams", streams)
			reportMs(b, "answer", answer)
		})
	}
}

func reportMs(b *testing.B, name string, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(ms(took[len(took)/2]), name+"-p50-ms")
	b.ReportMetric(ms(took[(len(took)*99+99)/100-1]), name+"-p99-ms")
	b.ReportMetric(ms(took[len(took)-1]), name+"-max-ms")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func logoutOf(b *testing.B, all []*seat, n int) (authority, streams, answer time.Duration) {
	who := authn.Identity{Issuer: "dev", Subject: "ann", User: "ann", Method: "dev"}
	token, p, err := all[0].people.Issue(b.Context(), who)
	if err != nil {
		b.Fatal(err)
	}
	var running, open sync.WaitGroup
	live := make([]*session.Session, 0, n)
	for i := range n {
		s, err := openWhenKnown(all[i%len(all)], p)
		if err != nil {
			b.Fatal(err)
		}
		open.Add(1)
		s.OnEnd(func(error) { open.Done() })
		running.Go(func() { <-s.Context().Done(); s.Close() })
		live = append(live, s)
	}
	began := time.Now()
	running.Go(func() { all[0].logout(b, token, "default"); answer = time.Since(began) })
	running.Go(func() { open.Wait(); streams = time.Since(began) })
	for _, s := range live {
		for s.Alive() {
			if time.Since(began) > 10*time.Second {
				b.Fatal("a session survived its logout")
			}
			<-time.After(20 * time.Microsecond)
		}
	}
	authority = time.Since(began)
	running.Wait()
	return authority, streams, answer
}

// openWhenKnown waits, within bounds, until the replica knows of the login.
func openWhenKnown(s *seat, p *host.Principal) (*session.Session, error) {
	for late := time.Now().Add(5 * time.Second); s.store.Revoked(p) != nil && time.Now().Before(late); {
		<-time.After(100 * time.Microsecond)
	}
	return s.table.Open(context.Background(), p, host.SessionInfo{Kind: host.SessionSocket})
}
