package pods

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
)

const (
	maxCommand = 64 // words
	maxWords   = 8 << 10
)

// request is a guest's request in typed parts.
type request struct {
	operation               *operation
	cluster, namespace, pod string
	container               string
	command                 []string
	tty                     bool
	size                    cluster.Size
	logs                    logOptions
	port                    portOptions
	file                    copyOptions
}

// call returns the call that policy decides about, for one pod; "" for those that the
// request selects.
func (q *request) call(pod string) host.CapabilityCall {
	return host.CapabilityCall{
		Name: name, Verb: q.operation.verb, Cluster: q.cluster, Resource: "pods", Subresource: q.operation.subresource,
		Namespace: q.namespace, Object: pod, Effect: q.operation.effect,
	}
}

func (q *request) readPlace(place []string) error {
	q.namespace = place[0]
	if !dnsname.IsLabel(q.namespace) {
		return host.E(host.Invalid, name, "namespace: %q is not a valid name", q.namespace)
	}
	if len(place) > 1 {
		if q.pod = place[1]; !dnsname.IsSubdomain(q.pod) {
			return host.E(host.Invalid, name, "pod: %q is not a valid name", q.pod)
		}
	}
	return nil
}

// needPod refuses a request that names no pod.
func (q *request) needPod() error {
	if q.pod == "" {
		return host.E(host.Invalid, name, "the operation %s needs a pod", q.operation.subresource)
	}
	return nil
}

func (q *request) readContainer(t *capability.Target) error {
	if q.container = t.Query.Get("container"); q.container != "" && !dnsname.IsLabel(q.container) {
		return host.E(host.Invalid, name, "container: %q is not a valid container name", q.container)
	}
	return nil
}

func (q *request) parseExec(t *capability.Target) error {
	if err := t.Only(name, "container", "command", "tty", "cols", "rows"); err != nil {
		return err
	}
	if q.command = t.Query["command"]; len(q.command) == 0 {
		q.command = []string{"/bin/sh"}
	}
	words := strings.Join(q.command, "\x00")
	if q.command[0] == "" || len(q.command) > maxCommand || len(words) > maxWords {
		return host.E(host.Invalid, name, "command must have 1 to %d words and at most %d bytes", maxCommand, maxWords)
	}
	var err error
	if q.tty, err = yes(t, "tty"); err != nil {
		return err
	}
	return q.readTerminal(t)
}

// parseAttach reads no tty: the container has one or not.
func (q *request) parseAttach(t *capability.Target) error {
	if err := t.Only(name, "container", "cols", "rows"); err != nil {
		return err
	}
	return q.readTerminal(t)
}

func (q *request) readTerminal(t *capability.Target) (err error) {
	if err := q.needPod(); err != nil {
		return err
	}
	if err := q.readContainer(t); err != nil {
		return err
	}
	cols, err := number(t, "cols", 80, 1, 65535)
	if err != nil {
		return err
	}
	rows, err := number(t, "rows", 24, 1, 65535)
	q.size = cluster.Size{Cols: uint16(cols), Rows: uint16(rows)}
	return err
}

// yes reads a boolean of the query; absent is false.
func yes(t *capability.Target, key string) (bool, error) {
	v, err := strconv.ParseBool(cmp.Or(t.Query.Get(key), "false"))
	if err != nil {
		return false, host.E(host.Invalid, name, "%s must be true or false", key)
	}
	return v, nil
}

// number reads a number of the query.
func number(t *capability.Target, key string, otherwise, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(cmp.Or(t.Query.Get(key), fmt.Sprint(otherwise)), 10, 64)
	if err != nil || n < least || n > most {
		return 0, host.E(host.Invalid, name, "%s must be a number from %d to %d", key, least, most)
	}
	return n, nil
}
