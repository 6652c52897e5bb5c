package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// Examination is what a cluster's API server says of the host's own account.
type Examination struct {
	Version string // of the API server
	// Skew is by how much the API server's clock is ahead of this machine's; the server
	// states whole seconds.
	Skew time.Duration
	// Missing are rights that the host needs and does not have, Excess rights that it has
	// and does not use. Whoever takes over the host has them, too.
	Missing, Excess []string
}

// right is a question to the API server (SelfSubjectAccessReview).
type right struct {
	Verb      string `json:"verb"`
	Group     string `json:"group,omitempty"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace,omitempty"`
}

func (r right) String() string {
	s := r.Verb + " " + r.Resource
	if r.Group != "" && r.Group != "*" {
		s += "." + r.Group
	}
	if r.Namespace != "" {
		s += " in namespace " + r.Namespace
	}
	return s
}

// rule is one of a SelfSubjectRulesReview.
type rule struct {
	Verbs, APIGroups, Resources, ResourceNames []string
}

// ordinary are the rights that every account has (system:basic-user).
var ordinary = []right{
	{Verb: "create", Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}, {Verb: "create", Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"},
	{Verb: "create", Group: "authentication.k8s.io", Resource: "selfsubjectreviews"},
}

// within reports whether the rule allows nothing but these rights and those that every
// account has. In which namespace is not compared.
func (r *rule) within(rights []right) bool {
	for _, verb := range r.Verbs {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				same := func(x right) bool { return x.Verb == verb && x.Group == group && x.Resource == resource }
				if !slices.ContainsFunc(rights, same) && !slices.ContainsFunc(ordinary, same) {
					return false
				}
			}
		}
	}
	return true
}

func (r *rule) String() string {
	s := strings.Join(r.Verbs, ",") + " " + strings.Join(r.Resources, ",")
	if groups := strings.Join(r.APIGroups, ","); groups != "" && groups != "*" {
		s += "." + groups
	}
	if len(r.ResourceNames) > 0 {
		s += " named " + strings.Join(r.ResourceNames, ",")
	}
	return s
}

// maxExcess is how many rules are named; more are counted.
const maxExcess = 10

// excess returns the rules of the host's account beyond what is needed, for the cluster
// and in these namespaces.
func (e *endpoint) excess(ctx context.Context, needed []right, namespaces []string) (list []string, err error) {
	for _, namespace := range append([]string{"default"}, namespaces...) {
		var review struct {
			Status struct{ ResourceRules []rule }
		}
		question := map[string]any{
			"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": map[string]string{"namespace": namespace},
		}
		if err := e.ask(ctx, http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", question, &review, nil); err != nil {
			return nil, err
		}
		for _, r := range review.Status.ResourceRules {
			if text := r.String(); !r.within(needed) && !slices.Contains(list, text) {
				list = append(list, text)
			}
		}
	}
	if n := len(list) - maxExcess; n > 0 {
		list = append(list[:maxExcess], fmt.Sprintf("%d more", n))
	}
	return list, nil
}

// Examine asks the cluster of c what the host's own account may do. follows are the
// namespaces from which the host reads users, teams and roles. An error is one of the
// kubeconfig, at its field, or says why the API server does not answer.
func Examine(ctx context.Context, c Config, follows []string) (*Examination, error) {
	m := &member{config: c, logger: slog.New(slog.DiscardHandler), renewed: make(chan struct{})}
	if field, err := m.load(); err != nil {
		return nil, config.At(field, err)
	}
	e := m.current.Load()
	defer e.close()
	x := &Examination{}
	var err error
	var version struct{ GitVersion string }
	if err := e.ask(ctx, http.MethodGet, "/version", nil, &version, &x.Skew); err != nil {
		return nil, err
	}
	x.Version = version.GitVersion
	needed := []right{{Verb: "impersonate", Resource: "users"}, {Verb: "impersonate", Resource: "groups"}}
	for _, namespace := range follows {
		for _, resource := range []string{"users", "teams", "roles"} {
			for _, verb := range []string{"list", "watch"} {
				needed = append(needed, right{verb, Group, resource, namespace})
			}
		}
	}
	needed = append(needed, c.watchRights()...)
	for _, r := range needed {
		if has, err := e.may(ctx, r); err != nil {
			return nil, err
		} else if !has {
			x.Missing = append(x.Missing, r.String())
		}
	}
	x.Excess, err = e.excess(ctx, needed, follows)
	return x, err
}

// watchRights are those that the shared watches need.
func (c *Config) watchRights() (list []right) {
	for _, name := range c.SharedWatches {
		resource, group, _ := strings.Cut(name, ".")
		if name == SharedReleases {
			resource, group = "secrets", ""
		}
		list = append(list, right{Verb: "list", Group: group, Resource: resource}, right{Verb: "watch", Group: group, Resource: resource})
	}
	return list
}

func (e *endpoint) may(ctx context.Context, r right) (bool, error) {
	var review reviewed
	err := e.ask(ctx, http.MethodPost, reviewPath, questionOf(r), &review, nil)
	return review.Status.Allowed, err
}

const reviewPath = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

func questionOf(r right) any {
	return map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": map[string]any{"resourceAttributes": r},
	}
}

// reviewed is the part of the API server's answer that is read.
type reviewed struct {
	Status struct{ Allowed bool }
}

// ask sends one request as the host itself.
func (e *endpoint) ask(ctx context.Context, method, path string, in, out any, skew *time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, e.url+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := e.transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s answers %s", path, resp.Status)
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); skew != nil && err == nil {
		*skew = time.Until(at).Round(time.Second)
	}
	return json.Unmarshal(text, out)
}
