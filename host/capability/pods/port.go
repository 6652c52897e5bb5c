package pods

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/host/stream"
)

// PortProtocol is the subprotocol of a socket that is one TCP connection to a port.
// Binary messages are its bytes, in both directions. Text messages are JSON:
//
//	client  {"type":"eof"}     no more bytes come; the pod can go on sending
//	server  {"type":"connected","pod":"web-1","port":8080}
//	        {"type":"warning",…}  {"type":"end"}  {"type":"error","error":"…"}
//
// A connection cannot move to another pod. If the pod goes away, the socket closes with
// 1012; a client that connects again gets the next ready pod of the service.
const PortProtocol = "bulkhead.port.v1"

const (
	readyWithin = 10 * time.Second // for a service: until a ready pod answers
	readyEvery  = 250 * time.Millisecond
	portBuffer  = 32 << 10
)

// portOptions are a port of a pod, or of a service.
type portOptions struct {
	service string
	port    string // a number; of a service also a name
}

func (q *request) parsePort(t *capability.Target) error {
	if err := t.Only(name, "service", "port"); err != nil {
		return err
	}
	q.port = portOptions{t.Query.Get("service"), t.Query.Get("port")}
	if (q.pod == "") == (q.port.service == "") {
		return host.E(host.Invalid, name, "exactly one of pod and service is required")
	}
	if q.port.service != "" && !dnsname.IsLabel(q.port.service) {
		return host.E(host.Invalid, name, "service: %q is not a valid name", q.port.service)
	}
	if _, err := strconv.ParseUint(q.port.port, 10, 16); err != nil && (q.pod != "" || !dnsname.IsLabel(q.port.port)) || q.port.port == "0" {
		return host.E(host.Invalid, name, "port must be a number from 1 to 65535, or the name of a service's port")
	}
	return nil
}

func (e *Pods) openPort(ctx context.Context, p *capability.Permit, q *request, client *cluster.Client) (capability.Stream, error) {
	if err := unrecorded(p); err != nil {
		return nil, err
	}
	if err := q.may(ctx, client, q.operation.rbac, q.pod); err != nil {
		return nil, err
	}
	f := &forward{clusters: e.clusters, permit: p, request: q, connected: make(chan struct{})}
	if q.pod != "" {
		pod, err := q.get(ctx, client)
		if err == nil {
			err = pod.running()
		}
		if err != nil {
			return nil, err
		}
	} else {
		if err := q.resolve(ctx, p, client); err != nil {
			return nil, err
		}
		if err := f.readService(ctx, client); err != nil {
			return nil, err
		}
	}
	return &opened{
		provider: e, permit: p, protocols: []string{PortProtocol},
		start: func(string) stream.Upstream { return f },
	}, nil
}

// forward is one connection to a port.
type forward struct {
	clusters  *cluster.Set
	permit    *capability.Permit
	request   *request
	selector  string // of a service's pods
	toPort    string // a number, or the name of a container's port
	conn      *cluster.Port
	connected chan struct{} // closed once conn is set
	eof       bool          // Receive only
}

// readService reads the service's selector and the port of its pods.
func (f *forward) readService(ctx context.Context, client *cluster.Client) error {
	q := f.request
	if err := alsoKube(ctx, f.permit, q, "get", "services", "", q.port.service); err != nil {
		return err
	}
	var service struct {
		Spec struct {
			Selector map[string]string
			Ports    []struct {
				Name       string
				Port       int64
				TargetPort any
			}
		}
	}
	path := "/api/v1/namespaces/" + q.namespace + "/services/" + q.port.service
	if err := ask(ctx, client, &cluster.Request{Method: http.MethodGet, Path: path}, &service); err != nil {
		return err
	}
	if len(service.Spec.Selector) == 0 {
		return host.E(host.Conflict, name, "service %q selects no pods", q.port.service)
	}
	f.selector = labels.SelectorFromSet(service.Spec.Selector).String()
	for _, x := range service.Spec.Ports {
		if x.Name != q.port.port && strconv.FormatInt(x.Port, 10) != q.port.port {
			continue
		}
		switch to := x.TargetPort.(type) {
		case string:
			f.toPort = to
		case float64:
			f.toPort = strconv.FormatInt(int64(to), 10)
		}
		if f.toPort == "" || f.toPort == "0" {
			f.toPort = strconv.FormatInt(x.Port, 10)
		}
		return nil
	}
	return host.E(host.Invalid, name, "service %q has no port %s", q.port.service, q.port.port)
}

func (f *forward) Receive(_ *stream.Pump, binary bool, data []byte) error {
	<-f.connected // or the end of Run
	if f.conn == nil {
		return nil
	}
	if !binary {
		var m struct{ Type string }
		if json.Unmarshal(data, &m) != nil || m.Type != "eof" {
			return &stream.Violation{Code: host.CloseViolation, Text: "a text message is not eof"}
		}
		f.eof = true
		return f.conn.CloseWrite()
	}
	if f.eof {
		return &stream.Violation{Code: host.CloseViolation, Text: "bytes after their end"}
	}
	_, err := f.conn.Write(data)
	if err != nil && f.permit.Caller.Authority.Alive() {
		return nil // Run reports the end of the connection
	}
	return err
}

func (f *forward) End(p *stream.Pump, err error) error { return ended(p, err) }

func (f *forward) Warn(p *stream.Pump, cause error, left time.Duration) error {
	return warn(p, cause, left)
}

func (f *forward) Run(ctx context.Context, p *stream.Pump) error {
	pod, port, err := f.connect(ctx)
	close(f.connected)
	if err != nil {
		return err
	}
	defer f.conn.Close()
	if err := sendJSON(p, map[string]any{"type": "connected", "pod": pod, "port": port}); err != nil {
		return err
	}
	buffer := make([]byte, portBuffer)
	for {
		n, err := f.conn.Read(buffer)
		switch {
		case cluster.Lost(err):
			return host.E(host.Unavailable, name, "the connection to pod %q was lost; connect again", pod)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := p.Output(false, buffer[:n], buffer[:n]); err != nil {
			return err
		}
	}
}

// connect opens the connection, to the first ready pod that answers.
func (f *forward) connect(ctx context.Context) (pod string, port uint16, err error) {
	q := f.request
	client, err := f.clusters.As(ctx, q.cluster, f.permit.Obligations.Impersonate, f.permit.Caller.Authority)
	if err != nil {
		return "", 0, err
	}
	if q.pod != "" {
		n, _ := strconv.ParseUint(q.port.port, 10, 16) // parsePort has checked it
		f.conn, err = client.Dial(ctx, q.namespace, q.pod, uint16(n))
		return q.pod, uint16(n), err
	}
	for deadline := time.Now().Add(readyWithin); ; {
		pod, port, err = f.connectReady(ctx, client)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) || host.KindOf(err) == host.Forbidden {
			return pod, port, err
		}
		timer := time.NewTimer(readyEvery)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (f *forward) connectReady(ctx context.Context, client *cluster.Client) (string, uint16, error) {
	q := f.request
	pods, err := q.list(ctx, client, f.selector)
	if err != nil {
		return "", 0, err
	}
	err = host.E(host.Unavailable, name, "service %q has no ready pod", q.port.service)
	for _, x := range pods {
		port, ok := x.port(f.toPort)
		if !x.ready() || !ok {
			continue
		}
		// Policy was asked about the service; a pod can be forbidden by its name.
		if _, err = f.permit.Also(ctx, q.call(x.Metadata.Name)); err != nil {
			continue
		}
		if f.conn, err = client.Dial(ctx, q.namespace, x.Metadata.Name, port); err == nil {
			return x.Metadata.Name, port, nil
		}
		f.conn = nil
	}
	return "", 0, err
}

// port returns the number of a port of the pod, which is a number already or the name of
// a container's port.
func (p *podObject) port(text string) (uint16, bool) {
	if n, err := strconv.ParseUint(text, 10, 16); err == nil {
		return uint16(n), n > 0
	}
	for _, c := range p.all() {
		for _, x := range c.Ports {
			if x.Name == text {
				return uint16(x.ContainerPort), true
			}
		}
	}
	return 0, false
}
