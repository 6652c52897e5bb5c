// Pods shows what goes on in pods: logs, ports, files and the containers' own processes. It reads
// the target from the query and hands the client to the host, which moves the data.
package main

import (
	"math"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pods"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

func init() {
	session.Handle("attach", splice(attach))
	session.Handle("logs", splice(logs))
	session.Handle("logevents", splice(logs))
	session.Handle("port", splice(port))
	session.Handle("files", splice(files))
	session.Handle("download", splice(download))
	session.Handle("upload", splice(upload))
}

func main() {}

// splice opens the stream before it touches the session, so that a refusal is plain HTTP.
func splice(open func(*sdk.Request) (sdk.Stream, error)) func(*sdk.Request, *session.Session) error {
	return func(r *sdk.Request, s *session.Session) error {
		stream, err := open(r)
		if err != nil {
			return err
		}
		return s.Splice(stream)
	}
}

const maxSide = 4096 // columns or rows

func attach(r *sdk.Request) (sdk.Stream, error) {
	cols, err := r.Int("cols", 80, 1, maxSide)
	if err != nil {
		return 0, err
	}
	rows, err := r.Int("rows", 24, 1, maxSide)
	if err != nil {
		return 0, err
	}
	return pods.Attach(target(r), pods.Terminal{Cols: cols, Rows: rows})
}

func target(r *sdk.Request) pods.Target {
	q := r.Values()
	return pods.Target{Cluster: q.Get("cluster"), Namespace: q.Get("namespace"), Pod: q.Get("pod"), Container: q.Get("container")}
}

func logs(r *sdk.Request) (sdk.Stream, error) {
	q := r.Values()
	o := pods.LogOptions{
		Cluster: q.Get("cluster"), Namespace: q.Get("namespace"), Pod: q.Get("pod"), Selector: q.Get("selector"), Owner: q.Get("owner"),
		Container: q.Get("container"), Since: q.Get("since"), Tail: q.Get("tail"), Match: q.Get("match"),
	}
	var err error
	if o.Follow, err = r.Bool("follow"); err != nil {
		return 0, err
	}
	if o.Previous, err = r.Bool("previous"); err != nil {
		return 0, err
	}
	return pods.Logs(o)
}

func port(r *sdk.Request) (sdk.Stream, error) {
	q := r.Values()
	if service := q.Get("service"); service != "" && q.Get("pod") == "" {
		return pods.ServicePort(q.Get("cluster"), q.Get("namespace"), service, q.Get("port"))
	} else if service != "" {
		return 0, sdk.Errorf(400, "exactly one of pod and service is required")
	}
	if q.Get("pod") == "" {
		return 0, sdk.Errorf(400, "pod or service is required")
	}
	return pods.Port(target(r), q.Get("port"))
}

func files(r *sdk.Request) (sdk.Stream, error) { return pods.List(target(r), r.Values().Get("path")) }

func download(r *sdk.Request) (sdk.Stream, error) {
	offset, err := r.Int("offset", 0, 0, math.MaxInt32)
	if err != nil {
		return 0, err
	}
	return pods.Download(target(r), r.Values().Get("path"), int64(offset))
}

func upload(r *sdk.Request) (sdk.Stream, error) {
	if r.Values().Get("size") == "" {
		return 0, sdk.Errorf(400, "size is required")
	}
	size, err := r.Int("size", 0, 0, math.MaxInt32)
	if err != nil {
		return 0, err
	}
	return pods.Upload(target(r), r.Values().Get("path"), int64(size), r.Values().Get("sha256"))
}
