// Exec is the console's terminal: it reads what to run where from the query
// and hands the client to the process. The host moves the bytes.
package main

import (
	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/exec"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

func init() { session.Handle("shell", shell) }

func main() {}

// shell opens the process before it touches the session, so that a refusal is
// plain HTTP.
func shell(r *sdk.Request, s *session.Session) error {
	target, err := targetOf(r)
	if err != nil {
		return err
	}
	stream, err := exec.Open(target)
	if err != nil {
		return err
	}
	return s.Splice(stream)
}

const (
	maxArguments = 64
	maxSide      = 4096 // columns or rows
)

func targetOf(r *sdk.Request) (exec.Target, error) {
	q := r.Values()
	t := exec.Target{
		Cluster: q.Get("cluster"), Namespace: q.Get("namespace"), Pod: q.Get("pod"),
		Container: q.Get("container"), Command: q["command"],
	}
	if len(t.Command) == 0 {
		t.Command = []string{"/bin/sh"}
	}
	if len(t.Command) > maxArguments || t.Command[0] == "" {
		return t, sdk.Errorf(400, "command must be 1 to %d arguments, the first not empty", maxArguments)
	}
	var err error
	if t.TTY, err = r.Bool("tty"); err != nil {
		return t, err
	}
	if t.Cols, err = r.Int("cols", 80, 1, maxSide); err != nil {
		return t, err
	}
	t.Rows, err = r.Int("rows", 24, 1, maxSide)
	return t, err
}
