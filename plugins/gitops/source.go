package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/git"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

// manager is the field manager of what this plugin applies.
const manager = "bulkhead"

// declaration is where manifests are in git, and the cluster that they are for.
type declaration struct {
	RepoURL    string `json:"repoUrl"`
	Repository string `json:"repository"` // instead: a source, or SOURCE/PATH
	Path       string `json:"path"`
	Branch     string `json:"branch"` // empty: the repository's HEAD
	Cluster    string `json:"cluster"`
	Namespace  string `json:"namespace"` // of objects that name none
}

const (
	maxURL    = 1024
	maxBranch = 200
	maxPath   = 1024
)

// check checks the fields, in the order of the other routes, and completes them.
func (d *declaration) check() error {
	switch {
	case d.RepoURL == "" && d.Repository == "":
		return sdk.Errorf(400, "repoUrl is required")
	case d.RepoURL != "" && d.Repository != "":
		return sdk.Errorf(400, "repoUrl and repository exclude each other")
	case d.RepoURL != "" && !repositoryURL(d.RepoURL):
		return sdk.Errorf(400, "invalid repoUrl")
	case d.Repository != "" && !made(d.Repository, "-_./", maxURL):
		return sdk.Errorf(400, "invalid repository")
	case d.Branch != "" && (!made(d.Branch, "-_./+#@", maxBranch) || strings.Contains(d.Branch, "..")):
		return sdk.Errorf(400, "invalid branch")
	}
	if d.Path = strings.TrimSuffix(strings.TrimPrefix(d.Path, "./"), "/"); d.Path == "." {
		d.Path = ""
	}
	if len(d.Path) > maxPath || slices.Contains(strings.Split(d.Path, "/"), "..") {
		return sdk.Errorf(400, "invalid path")
	}
	cluster, err := clusterOf(d.Cluster)
	if err != nil {
		return err
	}
	d.Cluster, d.Namespace = string(cluster), cmp.Or(d.Namespace, settings.DefaultNamespace)
	return checkName("namespace", d.Namespace)
}

// repositoryURL reports whether s could be an address that the host accepts: https, ssh,
// or the short form of ssh, USER@SERVER:PATH.
func repositoryURL(s string) bool {
	user, rest, short := strings.Cut(s, "@")
	return len(s) <= maxURL && (strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "ssh://") ||
		short && made(user, "-_.", maxName) && strings.Contains(rest, ":") && made(rest, "-_./:", maxURL))
}

// read reads what the path declares: its objects, or why they cannot be used.
func (d *declaration) read() (*git.Manifests, []*item, []git.Problem, error) {
	m, err := d.manifests()
	if err != nil || len(m.Problems) > 0 {
		return m, nil, m.Problems, err
	}
	items, problems, err := d.items(m)
	return m, items, problems, err
}

func (d *declaration) manifests() (*git.Manifests, error) {
	repository := git.At(d.RepoURL)
	if d.Repository != "" {
		source, below, _ := strings.Cut(d.Repository, "/")
		repository = git.Source(source, below)
	}
	ref := ""
	if d.Branch != "" {
		ref = git.Branch(d.Branch)
	}
	m, err := repository.Manifests(ref, d.Path)
	if err == nil && m.Form == git.FormChart {
		err = &sdk.Error{Status: 422, Message: "the path is a Helm chart, not manifests", Detail: "install it from a chart repository with helm-upgrade"}
	}
	return m, err
}

// invalid is the answer for manifests that cannot be used: the first problem, and all.
type invalid struct {
	Error     string        `json:"error"`
	ErrorType string        `json:"errorType"`
	Details   string        `json:"details"`
	Detail    string        `json:"detail"`
	File      string        `json:"file"`
	Line      int           `json:"line,omitempty"`
	Problems  []git.Problem `json:"problems"`
	RequestID string        `json:"requestId"`
}

func invalidManifest(r *sdk.Request, problems []git.Problem) (*sdk.Response, error) {
	p, text := problems[0], textOf(&problems[0])
	return sdk.JSON(422, invalid{"invalid manifest: " + text, "yaml_parse", text, text, p.File, p.Line, problems, r.RequestID()})
}

// textOf returns a problem as FILE:LINE: TEXT.
func textOf(p *git.Problem) string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// identity names an object of a cluster.
type identity struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"` // empty: the object belongs to no namespace
	Name       string `json:"name"`
	Resource   string `json:"resource"` // the plural in paths
}

func (i *identity) path() string {
	return kube.Objects(i.APIVersion, i.Namespace, i.Resource, i.Name)
}

// key is the same for all versions of the object's group.
func (i *identity) key() string {
	return strings.Join([]string{groupOf(i.APIVersion), i.Resource, i.Namespace, i.Name}, "/")
}

// groupOf returns the group of an apiVersion; the core group is empty.
func groupOf(apiVersion string) string {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return ""
	}
	return group
}

// item is one object that git declares.
type item struct {
	identity
	at   git.Object
	body json.RawMessage // with its namespace
	// defines is the kind that a CustomResourceDefinition defines, as GROUP/KIND.
	defines string
}

func (i *item) isCRD() bool { return i.Kind == "CustomResourceDefinition" && i.defines != "" }

// head is what is read of a manifest.
type head struct {
	APIVersion string
	Kind       string
	Metadata   struct{ Name, Namespace string }
	Spec       json.RawMessage
}

// kinds are the kinds of a cluster, as far as they were asked for, and those that the
// manifests define.
type kinds struct {
	cluster kube.Cluster
	known   map[string][]kube.Resource // by apiVersion
	defined map[string]kube.Resource   // by GROUP/KIND
}

func (k *kinds) find(apiVersion, kind string) (*kube.Resource, error) {
	if r, ok := k.defined[groupOf(apiVersion)+"/"+kind]; ok {
		return &r, nil
	}
	list, ok := k.known[apiVersion]
	if !ok {
		var err error
		if list, err = k.cluster.Resources(apiVersion); err != nil && !absent(err) {
			return nil, err
		}
		k.known[apiVersion] = list
	}
	for i := range list {
		if list[i].Kind == kind && !strings.Contains(list[i].Name, "/") {
			return &list[i], nil
		}
	}
	return nil, nil
}

// items completes the objects of git with their namespaces and resources, in the order in
// which they are applied. If one cannot be used, problems says why.
func (d *declaration) items(m *git.Manifests) (all []*item, problems []git.Problem, err error) {
	k := &kinds{kube.Cluster(d.Cluster), map[string][]kube.Resource{}, map[string]kube.Resource{}}
	heads := make([]head, len(m.Objects))
	for n, o := range m.Objects {
		i := &item{at: o}
		if err := json.Unmarshal(o.Object, &heads[n]); err != nil {
			problems = append(problems, git.Problem{File: o.File, Line: o.Line, Text: "metadata must have a name and a namespace that are texts"})
		}
		h := &heads[n]
		i.APIVersion, i.Kind, i.Namespace, i.Name = h.APIVersion, h.Kind, h.Metadata.Namespace, h.Metadata.Name
		var spec struct {
			Group string
			Names struct{ Plural, Kind string }
			Scope string
		}
		if strings.HasPrefix(i.APIVersion, "apiextensions.k8s.io/") && json.Unmarshal(h.Spec, &spec) == nil && spec.Names.Plural != "" {
			i.defines = spec.Group + "/" + spec.Names.Kind
			k.defined[i.defines] = kube.Resource{Name: spec.Names.Plural, Kind: spec.Names.Kind, Namespaced: spec.Scope == "Namespaced"}
		}
		all = append(all, i)
	}
	seen := map[string]*item{}
	for _, i := range all {
		problem := func(format string, args ...any) {
			problems = append(problems, git.Problem{File: i.at.File, Line: i.at.Line, Text: fmt.Sprintf(format, args...)})
		}
		resource, err := k.find(i.APIVersion, i.Kind)
		switch {
		case err != nil:
			return nil, nil, err
		case resource == nil:
			problem("the cluster has no kind %s of %s", i.Kind, i.APIVersion)
			continue
		case !resource.Namespaced:
			i.Namespace = ""
		default:
			i.Namespace = cmp.Or(i.Namespace, d.Namespace)
		}
		i.Resource = resource.Name
		if err := i.complete(); err != nil {
			problem("%v", err)
		}
		if before := seen[i.key()]; before != nil {
			problem("%s %s is declared in %s:%d, too", i.Kind, i.Name, before.at.File, before.at.Line)
		}
		seen[i.key()] = i
	}
	slices.SortStableFunc(all, func(a, b *item) int { return rank(a.Kind) - rank(b.Kind) })
	return all, problems, nil
}

// complete writes the namespace into the object.
func (i *item) complete() error {
	var o, metadata map[string]json.RawMessage
	if err := json.Unmarshal(i.at.Object, &o); err != nil {
		return err
	}
	if err := json.Unmarshal(o["metadata"], &metadata); err != nil || metadata == nil {
		return errors.New("metadata must be a mapping")
	}
	delete(metadata, "namespace")
	delete(metadata, "managedFields") // the API server refuses them
	if i.Namespace != "" {
		text, err := json.Marshal(i.Namespace)
		if err != nil {
			return err
		}
		metadata["namespace"] = text
	}
	var err error
	if o["metadata"], err = json.Marshal(metadata); err != nil {
		return err
	}
	i.body, err = json.Marshal(o)
	return err
}

// order is the order in which kinds are applied: first what others need. Other kinds,
// custom ones among them, come before the last group.
var order = []string{
	"Namespace", "CustomResourceDefinition", "PriorityClass", "ResourceQuota", "LimitRange", "NetworkPolicy", "PodDisruptionBudget",
	"ServiceAccount", "Secret", "ConfigMap", "StorageClass", "PersistentVolume", "PersistentVolumeClaim",
	"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service", "DaemonSet", "Pod", "ReplicaSet", "Deployment",
	"StatefulSet", "HorizontalPodAutoscaler", "Job", "CronJob", "IngressClass", "Ingress", "APIService",
}

// lastKinds are applied after everything else, because they act on what follows them.
var lastKinds = []string{"ValidatingAdmissionPolicyBinding", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}

func rank(kind string) int {
	if n := slices.Index(order, kind); n >= 0 {
		return n
	}
	return len(order) + 1 + slices.Index(lastKinds, kind)
}

// put applies the object at the server, or only checks that it could be. It returns the
// object as it then is.
func (i *item) put(cluster kube.Cluster, dryRun bool) (object []byte, created bool, err error) {
	query := "?fieldManager=" + manager + "&force=true&fieldValidation=Strict"
	if dryRun {
		query += "&dryRun=All"
	}
	resp, err := cluster.Fetch("PATCH", i.path()+query, []sdk.Pair{
		{Name: "Content-Type", Value: string(kube.ApplyPatch)}, {Name: "Accept", Value: "application/json"},
	}, i.body)
	if err != nil {
		return nil, false, err
	}
	return resp.Body, resp.Status == 201, nil
}

// failure is an object for which something failed.
type failure struct {
	identity
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Status  int    `json:"status"`
	Source  string `json:"source"` // who refused: policy, grant, upstream (the cluster), host
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"`
}

// failureOf makes the failure of one object. An error that is not about the object, such
// as the end of the session, is returned instead.
func failureOf(i identity, at git.Object, err error) (failure, error) {
	e, ok := errors.AsType[*sdk.Error](err)
	if !ok || e.Status == 401 {
		return failure{}, err
	}
	return failure{i, at.File, at.Line, e.Status, e.Origin.String(), e.Message, e.Detail}, nil
}
