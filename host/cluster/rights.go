package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// reviewTime is how long the API server's answer counts; tests shorten it.
var reviewTime = 10 * time.Second

const (
	maxReviews      = 20_000 // answers that are kept
	maxReviewed     = 500    // namespaces of one watch
	parallelReviews = 8
)

// rights keeps, for a short time, what the API server said about users' rights. The zero
// value is ready. Safe for concurrent use.
type rights struct {
	mu sync.Mutex
	by map[reviewKey]review
}

type reviewKey struct {
	user, group, resource, namespace string
	listSuffices                     bool
}

type review struct {
	allowed bool
	until   time.Time
}

// visible is the namespaces of a collection that a user may see.
type visible struct {
	all   bool // also objects without a namespace
	in    map[string]bool
	scope string // differs if the namespaces differ
}

func (v *visible) contains(namespace string) bool { return v.all || v.in[namespace] }

// visible asks which of the namespaces the user of client may see, by the caller's own
// limits and the cluster's RBAC.
func (r *rights) visible(ctx context.Context, client *Client, w *Watch, namespaces []string) (*visible, error) {
	if w.Namespace != "" {
		namespaces = []string{w.Namespace}
	}
	everywhere := false
	if w.Namespace == "" {
		var err error
		if everywhere, err = r.may(ctx, client, w, ""); err != nil {
			return nil, err
		}
		if everywhere && w.Within == nil {
			return &visible{all: true, scope: "all"}, nil
		}
	}
	v := &visible{in: map[string]bool{}}
	var asked []string
	for _, ns := range namespaces {
		switch {
		case ns == "" || w.Within != nil && !w.Within(ns):
		case everywhere:
			v.in[ns] = true
		default:
			asked = append(asked, ns)
		}
	}
	if len(asked) > maxReviewed {
		return nil, host.E(host.Unprocessable, op, "the objects are in over %d namespaces; name one", maxReviewed)
	}
	allowed := make([]bool, len(asked))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReviews)
	for i, ns := range asked {
		group.Go(func() (err error) {
			allowed[i], err = r.may(ctx, client, w, ns)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, ns := range asked {
		if allowed[i] {
			v.in[ns] = true
		}
	}
	if w.Namespace != "" && !v.in[w.Namespace] {
		return nil, refusedList(w, " in the namespace \""+w.Namespace+"\"")
	}
	if !everywhere && len(v.in) == 0 {
		// The same whether there are objects that the user may not see or none at all.
		return nil, refusedList(w, " in any namespace that has some")
	}
	h := sha256.New()
	for _, ns := range namespaces { // sorted
		if v.in[ns] {
			h.Write([]byte(ns + "\n"))
		}
	}
	v.scope = hex.EncodeToString(h.Sum(nil)[:6])
	return v, nil
}

// refusedList is what the API server would have said to the user's own list.
func refusedList(w *Watch, where string) error {
	return &host.Error{Kind: host.Forbidden, Op: op, Status: http.StatusForbidden,
		Message: "the cluster does not allow you to " + strings.Join(w.verbs(), " and ") + " " + w.name() + where}
}

// may asks the API server, as the user, whether the user may list and watch the
// collection's resource in the namespace; "" is all.
func (r *rights) may(ctx context.Context, client *Client, w *Watch, namespace string) (bool, error) {
	key := reviewKey{identityKey(client.user), w.Group, w.Resource, namespace, w.ListSuffices}
	now := time.Now()
	r.mu.Lock()
	known, ok := r.by[key]
	r.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.allowed, nil
	}
	allowed := true
	for _, verb := range w.verbs() {
		yes, err := client.may(ctx, right{verb, w.Group, w.Resource, namespace})
		if err != nil {
			return false, err
		}
		allowed = allowed && yes
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.by) >= maxReviews {
		r.by = nil
	}
	if r.by == nil {
		r.by = map[reviewKey]review{}
	}
	r.by[key] = review{allowed, now.Add(reviewTime)}
	return allowed, nil
}

// may sends a SelfSubjectAccessReview.
func (c *Client) may(ctx context.Context, r right) (bool, error) {
	body, err := json.Marshal(questionOf(r))
	if err != nil {
		return false, err
	}
	resp, err := c.Do(ctx, &Request{Method: http.MethodPost, Path: reviewPath,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: body, Limit: 1 << 20})
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		return false, err
	}
	var review reviewed
	if err := json.Unmarshal(resp.Body, &review); err != nil {
		return false, &host.Error{Kind: host.Upstream, Op: op, Message: "the cluster's answer cannot be read", Err: err}
	}
	return review.Status.Allowed, nil
}
