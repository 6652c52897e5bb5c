package kube

import (
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/jsonscan"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/rest"
)

// ListOptions limit a list. The zero value lists everything.
type ListOptions struct {
	LabelSelector string
	FieldSelector string
	// Limit is the number of objects in one answer: for List 0 means no paging, for Each it
	// means 500.
	Limit    int
	Continue string // from the metadata of the previous page
	// MetadataOnly leaves out what the objects contain, so that they are Partial.
	MetadataOnly bool
}

func (o *ListOptions) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"labelSelector": o.LabelSelector, "fieldSelector": o.FieldSelector, "continue": o.Continue,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if o.Limit > 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	return query
}

func (c Cluster) listRequest(path string, o *ListOptions) (*abi.Request, error) {
	if query := o.query(); len(query) > 0 {
		path += "?" + query.Encode()
	}
	target, err := c.url(path)
	form := plainJSON
	if o.MetadataOnly {
		form = partialList
	}
	return &abi.Request{Method: "GET", URL: target, Header: accept(form)}, err
}

// List reads the collection at path into out, which has an items field. Each needs less memory
// and follows the pages by itself.
func (c Cluster) List(path string, o ListOptions, out any) error {
	r, err := c.listRequest(path, &o)
	if err != nil {
		return err
	}
	return rest.Send(fetch, r, out)
}

// Get reads the object at path.
func Get[T any](c Cluster, path string) (*T, error) {
	out := new(T)
	return out, c.Get(path, out)
}

// Each yields the objects of the collection at path one by one, page after page. An error ends
// it. If some of the namespaces that the user may see could not be read, the others' objects
// come first and the last error is an *Incomplete.
func Each[T any](c Cluster, path string, o ListOptions) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		if _, err := each(c, path, o, yield); err != nil && err != errStop {
			yield(nil, err)
		}
	}
}

// errStop says that the loop over an iterator was left.
var errStop = errors.New("stop")

const pageSize = 500 // objects

// each is Each; it returns the resourceVersion of the list.
func each[T any](c Cluster, path string, o ListOptions, yield func(*T, error) bool) (version string, err error) {
	if o.Limit <= 0 {
		o.Limit = pageSize
	}
	for {
		r, err := c.listRequest(path, &o)
		if err != nil {
			return "", err
		}
		p := page{}
		if err := p.read(r, func(object []byte) error {
			out := new(T)
			if err := jsonscan.Decode(object, out); err != nil {
				return err
			}
			if !yield(out, nil) {
				return errStop
			}
			return nil
		}); err != nil {
			return "", err
		}
		if version == "" {
			version = p.Metadata.ResourceVersion
		}
		if len(p.Errors) > 0 {
			return version, &Incomplete{p.Errors}
		}
		if o.Continue = p.Metadata.Continue; o.Continue == "" {
			return version, nil
		}
	}
}

// page is what a list has besides its items.
type page struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
		Continue        string `json:"continue"`
	}
	Errors []Unread
}

// read makes a call and calls each with every item of its answer.
func (p *page) read(r *abi.Request, each func([]byte) error) error {
	resp, err := guest.Call(fetch, r)
	if err == nil {
		err = rest.Failure(resp)
	}
	if err != nil {
		return err
	}
	err = jsonscan.Members(resp.Body, func(name string, value []byte) error {
		switch name {
		case "items":
			return jsonscan.Elements(value, each)
		case "metadata":
			return jsonscan.Decode(value, &p.Metadata)
		case "errors":
			return jsonscan.Decode(value, &p.Errors)
		}
		return nil
	})
	if err != nil && err != errStop {
		return fmt.Errorf("answer of %s %s: %w", r.Method, r.URL, err)
	}
	return err
}

// Unread is a namespace that could not be read, and why.
type Unread struct {
	Namespace string `json:"namespace"`
	Status    int    `json:"status"`
	Message   string `json:"message"`
	Detail    string `json:"detail"`
}

// Incomplete is the error of a list that lacks namespaces which the user may see.
type Incomplete struct{ Unread []Unread }

// Error names the first of the namespaces.
func (e *Incomplete) Error() string {
	text := fmt.Sprintf("namespace %s could not be read: %s", e.Unread[0].Namespace, e.Unread[0].Message)
	if n := len(e.Unread) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d others)", n)
	}
	return text
}
