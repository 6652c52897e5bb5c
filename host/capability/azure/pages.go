package azure

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/retryafter"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Bounds of a merged list.
const (
	listTimeout = 12 * time.Second // after this time the answer is what has been read
	maxPages    = 200
	maxItems    = 5000
	maxBytes    = abi.MaxBody / 2
	parallel    = 4
)

// listing is the answer of a list. Errors has the groups that failed; Truncated is set
// if not everything was read.
type listing struct {
	Value     []json.RawMessage `json:"value"`
	Errors    []groupError      `json:"errors,omitempty"`
	Truncated bool              `json:"truncated,omitempty"`
}

type groupError struct {
	ResourceGroup string `json:"resourceGroup,omitempty"`
	Status        int    `json:"status"`
	Message       string `json:"message"`
	Detail        string `json:"detail,omitempty"`
	RetryAfter    int    `json:"retryAfter,omitempty"` // seconds that Azure asks to wait
}

// collector merges a list, in an order that does not depend on which part came first.
// Safe for concurrent use.
type collector struct {
	mu        sync.Mutex
	parts     [][]json.RawMessage
	failed    []groupError
	first     error
	ok        bool // something was read
	truncated bool
	items     int
	bytes     int
}

func newCollector(parts int) *collector { return &collector{parts: make([][]json.RawMessage, parts)} }

// listing returns what has been collected so far.
func (c *collector) listing() *listing {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortFunc(c.failed, func(a, b groupError) int { return strings.Compare(a.ResourceGroup, b.ResourceGroup) })
	return &listing{append([]json.RawMessage{}, slices.Concat(c.parts...)...), c.failed, c.truncated}
}

// list reads a list: of the subscription, or of each named group that the narrowing
// permits. If a group fails, the answer has the others.
func (s *session) list(ctx context.Context, q *request, within capability.Narrowing) (*abi.Response, error) {
	groups, whole := targets(q, within)
	if !whole && len(groups) == 0 {
		return reply(&listing{Value: []json.RawMessage{}})
	}
	limited, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	c := newCollector(max(1, len(groups)))
	if whole || q.kind == resourceGroups {
		keep := func(item json.RawMessage) bool { return q.keeps(item, within) }
		c.done("", s.pages(limited, c, 0, q.wire(q.names), q, keep), false)
	} else {
		s.listEach(limited, c, q, groups)
	}
	if lost := s.ended(ctx); lost != nil {
		return nil, lost
	}
	if c.first != nil && !c.ok {
		return nil, c.first
	}
	return reply(c.listing())
}

// ended returns why the call itself has ended, nil while it has not.
func (s *session) ended(ctx context.Context) error {
	if !s.auth.Alive() {
		return lost(s.auth)
	}
	if cause := context.Cause(ctx); cause != nil {
		return s.failure(ctx, cause)
	}
	return nil
}

// targets returns the groups to list one by one; whole means to list all at once.
func targets(q *request, within capability.Narrowing) (groups []string, whole bool) {
	switch {
	case q.group != "": // the path names it
		return nil, true
	case len(q.groups) > 0:
		return within.Among(q.groups), false
	case within.All():
		return nil, true
	}
	groups, ok := within.Names(validGroup)
	return groups, !ok || len(groups) > maxGroups
}

// keeps reports whether an item of a list over groups may be shown, according to the
// group in its id. An item without a valid id is shown only if the list is not narrowed.
func (q *request) keeps(item json.RawMessage, within capability.Narrowing) bool {
	if q.group != "" || within.All() && len(q.groups) == 0 {
		return true
	}
	var it struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(item, &it) != nil {
		return false
	}
	group := groupOf(it.ID)
	if group == "" || !within.Contains(group) {
		return false
	}
	for _, g := range q.groups {
		if g == group {
			return true
		}
	}
	return len(q.groups) == 0
}

// groupOf returns the resource group in an ARM id, in lower case; "" if the id has no
// unambiguous one.
func groupOf(id string) string {
	parts := strings.Split(id, "/")
	if len(parts) < 5 || !strings.EqualFold(parts[1], "subscriptions") || !strings.EqualFold(parts[3], "resourceGroups") {
		return ""
	}
	group, _ := lowerGroup(parts[4])
	return group
}

// listEach lists some groups at a time. A group that does not exist in Azure is a failure
// if the request names it, and is skipped if only policy names it.
func (s *session) listEach(ctx context.Context, c *collector, q *request, groups []string) {
	named := len(q.groups) > 0
	var group errgroup.Group
	group.SetLimit(parallel)
	for part, g := range groups {
		group.Go(func() (err error) {
			defer func() { c.done(g, err, !named) }()
			defer capability.Recover(s.logger, name, &err)
			return s.pages(ctx, c, part, "resourceGroups/"+g+"/"+q.wire(q.names), q, nil)
		})
	}
	_ = group.Wait() // each error is in c
}

// done records how one list ended.
func (c *collector) done(group string, err error, absentIsEmpty bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil || absentIsEmpty && host.KindOf(err) == host.NotFound {
		c.ok = true
		return
	}
	if c.first == nil {
		c.first = err
	}
	e, ok := errors.AsType[*host.Error](err)
	if !ok || e.Kind == host.Internal {
		e = &host.Error{Kind: host.Internal}
	}
	c.failed = append(c.failed, groupError{group, e.HTTPStatus(), e.Public(), e.Detail, retryafter.Seconds(e.RetryAfter)})
}

// add adds a page's items and reports whether there is room for more.
func (c *collector) add(part int, items []json.RawMessage, keep func(json.RawMessage) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, item := range items {
		if keep != nil && !keep(item) {
			continue
		}
		c.bytes += len(item)
		if c.items++; c.bytes > maxBytes || c.items > maxItems {
			c.truncated = true
			return false
		}
		c.parts[part] = append(c.parts[part], item)
	}
	c.ok = c.ok || len(items) > 0
	return true
}

// pages reads one list page by page. Each link must lead to the next page of the same
// list.
func (s *session) pages(ctx context.Context, c *collector, part int, path string, q *request, keep func(json.RawMessage) bool) error {
	first := s.url(path, q.wireQuery())
	next := first
	for range maxPages {
		a, err := s.do(ctx, "GET", next, nil)
		if err != nil {
			return err
		}
		var page struct {
			Value    []json.RawMessage `json:"value"`
			NextLink string            `json:"nextLink"`
		}
		if err := json.Unmarshal(a.body, &page); err != nil {
			return &host.Error{Kind: host.Upstream, Op: name, Message: "Azure's answer is not a list", Detail: s.trace(""), Err: err}
		}
		if !c.add(part, page.Value, keep) || page.NextLink == "" {
			return nil
		}
		if next, err = s.following(first, page.NextLink); err != nil {
			return err
		}
	}
	c.truncate()
	return nil
}

func (c *collector) truncate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.truncated = true
}

func (s *session) following(first *url.URL, link string) (*url.URL, error) {
	next, err := s.own(link)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(next.Path, first.Path) {
		return nil, host.E(host.Upstream, name, "Azure linked a page of another list")
	}
	return next, nil
}
