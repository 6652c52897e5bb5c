// Exec is the console's terminal: it reads what to run where from the query
// and hands the client to the process. The host moves the bytes.
package main

import (
	"strconv"

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
	if t.TTY, err = boolOf(q.Get("tty")); err != nil {
		return t, sdk.Errorf(400, "tty must be true or false")
	}
	if t.Cols, err = sideOf(q.Get("cols"), 80); err != nil {
		return t, sdk.Errorf(400, "cols must be a number within 1 to %d", maxSide)
	}
	if t.Rows, err = sideOf(q.Get("rows"), 24); err != nil {
		return t, sdk.Errorf(400, "rows must be a number within 1 to %d", maxSide)
	}
	return t, nil
}

func boolOf(s string) (bool, error) {
	if s == "" {
		return false, nil
	}
	return strconv.ParseBool(s)
}

func sideOf(s string, otherwise int) (int, error) {
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(s)
	if err == nil && (n < 1 || n > maxSide) {
		err = strconv.ErrRange
	}
	return n, err
}
