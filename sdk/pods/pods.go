// Package pods is the client of the capability "pods": what goes on in a pod, as the user.
// The plugin chooses the target and passes the stream to its session; the host moves the
// data, within the session and its limits.
//
//	stream, err := pods.Logs(pods.LogOptions{Cluster: "dev", Namespace: "shop", Selector: "app=web", Follow: true})
//	if err != nil {
//		return err
//	}
//	return s.Splice(stream)
//
// Errors are *sdk.Error from the host, which the handler can return: 400 for an invalid
// name, 403 from policy, grant or the cluster, 404, 502. Open everything before the first
// call on the session, so that a refusal is plain HTTP.
package pods

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/rest"
)

// Target is a pod and one of its containers; an empty Container means the pod's default.
type Target struct{ Cluster, Namespace, Pod, Container string }

// Terminal is the size of the client's terminal, in characters; zero means the host's
// default.
type Terminal struct{ Cols, Rows int }

// Exec starts a command in a container. An empty command is /bin/sh.
func Exec(t Target, command []string, tty bool, size Terminal) (sdk.Stream, error) {
	q := t.query(size)
	q["command"] = command
	set(q, "tty", tty)
	return t.open("exec", q)
}

// Attach connects to a container's own process.
func Attach(t Target, size Terminal) (sdk.Stream, error) { return t.open("attach", t.query(size)) }

// LogOptions say which logs. Exactly one of Pod, Selector and Owner is required.
type LogOptions struct {
	Cluster, Namespace string
	Pod                string
	Selector           string // of labels: "app=web"
	Owner              string // "deployments.apps/web"
	Container          string // default: all
	Follow, Previous   bool
	Since              string // a duration such as "10m", or a time (RFC 3339)
	Tail               string // lines of each container; default: all
	Match              string // a regular expression (RE2) that lines must match
}

// Logs opens the logs of one or many pods, merged by time. It works on sockets and on
// event streams.
func Logs(o LogOptions) (sdk.Stream, error) {
	q := url.Values{}
	for key, value := range map[string]string{
		"selector": o.Selector, "owner": o.Owner, "container": o.Container, "since": o.Since, "tail": o.Tail, "match": o.Match,
	} {
		if value != "" {
			q.Set(key, value)
		}
	}
	set(q, "follow", o.Follow)
	set(q, "previous", o.Previous)
	return Target{Cluster: o.Cluster, Namespace: o.Namespace, Pod: o.Pod}.open("log", q)
}

// Port opens one TCP connection to a port of a pod.
func Port(t Target, port string) (sdk.Stream, error) {
	return t.open("portforward", url.Values{"port": {port}})
}

// ServicePort opens one TCP connection to a port of a service, by number or name, at a
// ready pod.
func ServicePort(cluster, namespace, service, port string) (sdk.Stream, error) {
	return Target{Cluster: cluster, Namespace: namespace}.open("portforward", url.Values{"service": {service}, "port": {port}})
}

// List lists a directory of a container; path is absolute.
func List(t Target, path string) (sdk.Stream, error) { return t.file("list", path, nil) }

// Download sends a file of a container from an offset in bytes.
func Download(t Target, path string, offset int64) (sdk.Stream, error) {
	return t.file("download", path, url.Values{"offset": {strconv.FormatInt(offset, 10)}})
}

// Upload writes a file of size bytes into a container. sum is its SHA-256 in hexadecimal,
// "" if it is unknown.
func Upload(t Target, path string, size int64, sum string) (sdk.Stream, error) {
	q := url.Values{"size": {strconv.FormatInt(size, 10)}}
	if sum != "" {
		q.Set("sha256", sum)
	}
	return t.file("upload", path, q)
}

func (t Target) file(operation, path string, more url.Values) (sdk.Stream, error) {
	q := t.query(Terminal{})
	q.Set("path", path)
	for key, values := range more {
		q[key] = values
	}
	return t.open(operation, q)
}

func set(q url.Values, key string, value bool) {
	if value {
		q.Set(key, "true")
	}
}

func (t *Target) query(size Terminal) url.Values {
	q := url.Values{}
	if t.Container != "" {
		q.Set("container", t.Container)
	}
	for key, n := range map[string]int{"cols": size.Cols, "rows": size.Rows} {
		if n > 0 {
			q.Set(key, strconv.Itoa(n))
		}
	}
	return q
}

// open opens an operation on a pod, or on those that the query selects.
func (t Target) open(operation string, q url.Values) (sdk.Stream, error) {
	segments := []string{"namespace", t.Namespace}
	if t.Pod != "" {
		segments = append(segments, "pod", t.Pod)
	}
	target, err := rest.URL("pods", t.Cluster, append(segments, "operation", operation)...)
	if err != nil {
		return 0, err
	}
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	resp, err := guest.Call(open, &abi.Request{Method: "GET", URL: target})
	if err != nil {
		return 0, err
	}
	return streamOf(resp)
}

func streamOf(resp *abi.Response) (sdk.Stream, error) {
	for _, h := range resp.Header {
		if !strings.EqualFold(h.Name, abi.HeaderStream) {
			continue
		}
		if n, err := strconv.ParseInt(h.Value, 10, 32); err == nil {
			return sdk.Stream(n), nil
		}
	}
	return 0, &abi.Error{
		Code: abi.CodeUpstream, Origin: abi.OriginHost, Status: 502,
		Message: "no stream was opened", Detail: "status " + strconv.Itoa(resp.Status) + " without a stream",
	}
}
