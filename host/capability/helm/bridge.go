package helm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/redact"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// The host name of a child's request states its purpose. The child is this program, and
// templates cannot choose the name.
const (
	hostObjects = "objects.helm" // what the chart declares
	hostLookup  = "lookup.helm"  // what its templates ask for
	hostRecords = "records.helm" // the release's own records
)

// viaHelm and viaLookup are host.CapabilityCall.Via of the requests.
const (
	viaHelm   = "helm"
	viaLookup = "helm.lookup"
)

// bridge forwards the requests of one operation's child to the cluster. Policy decides
// each as the kube call that it is, except requests for the release's own records. Safe
// for concurrent use.
type bridge struct {
	*request
	client *cluster.Client
	permit *capability.Permit
	// policies judge what is written; see Config.Policies.
	policies *preflight

	handlers sync.WaitGroup // requests in progress

	mu      sync.Mutex
	judged  bool  // the policies have accepted the release's objects
	refused error // the first refusal by the host
	failed  error // the last write that the cluster refused, or that did not reach it
	record  key   // the newest revision that was written
	// claimed is set while the last write of that record has a claim; it was renewed at
	// the given time.
	claimed bool
	at      time.Time

	progress []step // what was changed in the cluster, the oldest first
}

// step is one change of an object, for progress.
type step struct {
	Verb      string `json:"verb"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Status    int    `json:"status"` // the API server's answer
}

const maxSteps = 1000 // of an operation's progress; later ones are not kept

// changes returns how many objects the operation has changed.
func (b *bridge) changes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.progress)
}

// steps returns the progress.
func (b *bridge) steps() []step {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.progress)
}

// advance adds an answered change to the progress. The name of a created object is in
// the answer.
func (b *bridge) advance(call *host.CapabilityCall, resp *http.Response) error {
	s := step{Verb: call.Verb, Resource: call.GroupResource(), Namespace: call.Namespace, Name: call.Object, Status: resp.StatusCode}
	if s.Name == "" && resp.StatusCode < 400 {
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxSecret))
		if err != nil {
			return err
		}
		var o struct{ Metadata struct{ Name string } }
		_ = json.Unmarshal(body, &o) // an answer without a name is a step without one
		s.Name = o.Metadata.Name
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.progress) < maxSteps {
		b.progress = append(b.progress, s)
	}
	return nil
}

// serve answers on conn until it is closed.
func (b *bridge) serve(ctx context.Context, conn net.Conn) {
	server := http2.Server{MaxConcurrentStreams: 64}
	server.ServeConn(conn, &http2.ServeConnOpts{Context: ctx, Handler: b, BaseConfig: &http.Server{ErrorLog: log.New(io.Discard, "", 0)}})
}

func (b *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.handlers.Add(1)
	defer b.handlers.Done()
	f, err := b.admit(r)
	if err != nil {
		cluster.Refuse(w, err)
	} else {
		err = b.client.Forward(w, r, f)
	}
	switch e, ok := errors.AsType[*host.Error](err); {
	case err == nil:
	case ok && e.Kind != host.Upstream && e.Kind != host.Unavailable && e.Kind != host.Timeout:
		b.refuse(err)
	default:
		b.note(err)
	}
}

// admit decides about one request.
func (b *bridge) admit(r *http.Request) (f cluster.Forwarding, err error) {
	if err := b.fenced(); err != nil {
		return f, err
	}
	f.As = b.permit.Obligations.Impersonate
	if cluster.Discovers(r.Method, r.URL.Path) {
		return f, nil
	}
	access, err := cluster.Classify(r.Method, r.URL.Path, r.URL.Query())
	if err != nil {
		return f, err
	}
	via := viaHelm
	switch r.Host {
	case hostRecords:
		return f, b.own(r, access)
	case hostLookup:
		via = viaLookup
	case hostObjects:
	default:
		return f, host.E(host.Forbidden, name, "helm does not make requests to %q", r.Host)
	}
	call := host.CapabilityCall{
		Name: "kube", Cluster: b.cluster, Verb: access.Verb, Group: access.Group, Resource: access.Resource,
		Subresource: access.Subresource, Namespace: access.Namespace, Object: access.Name, Path: r.URL.Path,
		Effect: access.Effect(r.ContentLength != 0), Via: via,
	}
	if call.Effect != host.EffectRead && b.upgrade.DryRun {
		return f, host.E(host.Forbidden, name, "a dry run makes no changes: %s", &call)
	}
	o, err := b.permit.Also(r.Context(), call)
	if err != nil {
		return f, err
	}
	if b.policies != nil && slices.Contains(changesObjects, call.Verb) && !b.accepted() {
		if err := b.policies.request(r, b, &call); err != nil {
			return f, err
		}
	}
	f.As, f.Timeout = o.Impersonate, o.MaxSession
	f.Answer = func(resp *http.Response) error {
		if resp.StatusCode >= 400 && r.Method != http.MethodGet {
			b.note(&host.Error{Kind: host.KindOfStatus(resp.StatusCode), Status: resp.StatusCode, Op: name,
				Message: fmt.Sprintf("the cluster refuses %s (%s)", &call, http.StatusText(resp.StatusCode))})
		}
		if call.Effect != host.EffectRead {
			return b.advance(&call, resp)
		}
		if via == viaLookup && resp.StatusCode < 400 {
			return redacted(resp, o.Redact)
		}
		return nil
	}
	if via == viaLookup && len(o.Redact) > 0 {
		r.Header.Set("Accept", "application/json")
		r.Header.Del("Accept-Encoding")
	}
	return f, nil
}

// own refuses a request that is not for the release's own records. It remembers which
// record is written.
func (b *bridge) own(r *http.Request, access cluster.Access) error {
	mine := access.Group == "" && access.Resource == "secrets" && access.Subresource == "" && access.Namespace == b.namespace && !access.Endless
	object, claimed, packed := access.Name, false, []byte(nil)
	switch access.Verb {
	case "get", "delete":
	case "list":
		set, err := labels.ConvertSelectorToLabelsMap(r.URL.Query().Get("labelSelector"))
		if mine && err == nil && set["owner"] == "helm" && set["name"] == b.release {
			return nil
		}
		mine = false
	case "create", "update":
		body, err := io.ReadAll(io.LimitReader(r.Body, maxSecret+1))
		if err != nil || len(body) > maxSecret {
			return host.E(host.Invalid, name, "a release's record is over %d bytes or incomplete", maxSecret)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var secret struct {
			Metadata struct {
				Name                string
				Labels, Annotations map[string]string
			}
			Data struct{ Release []byte }
		}
		if err := json.Unmarshal(body, &secret); err != nil {
			return host.E(host.Invalid, name, "a release's record is not JSON")
		}
		if object == "" {
			object = secret.Metadata.Name
		}
		h := head{status: release.Status(secret.Metadata.Labels["status"]), claim: decodeClaim(secret.Metadata.Annotations)}
		claimed, packed = h.claimed(), secret.Data.Release
	default:
		mine = false
	}
	k, ok := parseKey(b.namespace, object)
	if !mine || !ok || k.release != b.release {
		return host.E(host.Forbidden, name, "%s %s is not a record of release %q", r.Method, r.URL.Path, b.release)
	}
	if r.Method != http.MethodGet {
		if b.upgrade.DryRun {
			return host.E(host.Forbidden, name, "a dry run writes no record")
		}
		judged := b.policies != nil && access.Verb == "create"
		if judged {
			if err := b.policies.record(r.Context(), b, packed); err != nil {
				return err
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.judged = b.judged || judged
		if k.revision >= b.record.revision {
			b.record, b.claimed, b.at = k, claimed, time.Now()
		}
	}
	return nil
}

// accepted reports whether the policies have accepted the release's objects.
func (b *bridge) accepted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.judged
}

// held returns the newest record that the child has written, and whether it is claimed.
func (b *bridge) held() (record key, claimed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.record, b.claimed
}

// renewed remembers that the claim was renewed by a request that was sent at this time.
func (b *bridge) renewed(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at.After(b.at) {
		b.at = at
	}
}

// fenced returns why the child may not change anything any longer: the claim was not
// renewed for so long that another operation may soon take the release over. This
// process may have been suspended, or cut off from the cluster.
func (b *bridge) fenced() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.claimed || time.Since(b.at) < fenceAfter {
		return nil
	}
	return host.E(host.Unavailable, name, "the operation was stopped: the host could not reach the release's record for %v", fenceAfter)
}

// refuse remembers the first refusal by the host.
func (b *bridge) refuse(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused == nil {
		b.refused = err
	}
}

// note remembers a write that failed.
func (b *bridge) note(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = err
}

// seen returns what was remembered.
func (b *bridge) seen() (refused, failed error, record key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused, b.failed, b.record
}

// redacted removes the parts of an answer that policy redacts.
func redacted(resp *http.Response, pointers []string) error {
	if len(pointers) == 0 {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, abi.MaxBody+1))
	_ = resp.Body.Close()
	if err == nil && len(body) > abi.MaxBody {
		err = host.E(host.Upstream, name, "the answer is over %d bytes", abi.MaxBody)
	}
	if err != nil {
		return err
	}
	if body, err = redact.JSON(body, pointers); err != nil {
		return &host.Error{Kind: host.Forbidden, Op: name, Message: "not permitted: the answer to lookup is not JSON", Detail: "not_redactable", Err: err}
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Set("Content-Length", fmt.Sprint(len(body)))
	resp.Header.Del("Content-Encoding")
	return nil
}

// ownRecord reports whether a request reads or replaces a record of the release. Settling
// a release needs nothing else.
func (q *request) ownRecord(method, path string) bool {
	secret, ok := strings.CutPrefix(path, secretPath(q.namespace, "")+"/")
	k, valid := parseKey(q.namespace, secret)
	return (method == http.MethodGet || method == http.MethodPut) && ok && valid && k.release == q.release
}
