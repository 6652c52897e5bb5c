package session_test

import (
	"errors"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/exec"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

// A socket that answers each message, and pings a client that is silent for 30
// seconds.
func ExampleHandle() {
	session.Handle("chat", func(_ *sdk.Request, s *session.Session) error {
		for {
			m, err := s.Next(30 * time.Second)
			switch {
			case errors.Is(err, session.ErrTimeout):
				err = s.SendText("still there?")
			case err == nil:
				err = s.SendText("you said " + string(m.Data))
			}
			if err != nil {
				return session.Done(err)
			}
		}
	})
}

// A terminal: the plugin decides what runs where, and the host moves the bytes.
func ExampleSession_Splice() {
	session.Handle("shell", func(r *sdk.Request, s *session.Session) error {
		stream, err := exec.Open(exec.Target{
			Cluster: r.Query("cluster"), Namespace: r.Query("namespace"), Pod: r.Query("pod"),
			Command: []string{"/bin/sh"}, TTY: true, Cols: 80, Rows: 24,
		})
		if err != nil {
			return err // plain HTTP: the upgrade is not answered yet
		}
		return s.Splice(stream)
	})
}
