package config

import (
	"errors"
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Path is the path of the field from the root, such as "clusters[0].name"; ""
	// for the configuration as a whole.
	Path string
	Err  error
}

// Error begins with the path.
func (p *Problem) Error() string {
	if p.Path == "" {
		return p.Err.Error()
	}
	return p.Path + ": " + p.Err.Error()
}

// Unwrap returns the error without its path.
func (p *Problem) Unwrap() error { return p.Err }

// At returns err as the problem of the field at path, or nil if err is nil. It is for
// what only shows when a part is opened, such as a file that does not exist. If err is
// itself a problem, its path is below the given one.
func At(path string, err error) error {
	switch inner := err.(type) {
	case nil:
		return nil
	case *Problem:
		return &Problem{join(path, inner.Path), inner.Err}
	}
	return &Problem{path, err}
}

// Problems collects the problems of a configuration, each with the path of its field.
// Every check of a section has one as its argument, at the path of the section. The
// zero value is empty and at the root. It is not safe for concurrent use.
type Problems struct {
	path string
	root *Problems // nil: this one
	list []*Problem
}

// Check returns the problems that the check of a section finds, joined; path is that of
// the section.
func Check(path string, check func(*Problems)) error {
	var p Problems
	check(p.At(path))
	return p.Err()
}

// At returns the same collection at a field below, such as "bundle" or "keys[0]".
func (p *Problems) At(field string) *Problems {
	return &Problems{path: join(p.path, field), root: p.top()}
}

// Index returns the same collection at an element of the list in a field, "" for the
// list that p is at.
func (p *Problems) Index(field string, i int) *Problems {
	return p.At(fmt.Sprintf("%s[%d]", field, i))
}

// Path is the path that p is at.
func (p *Problems) Path() string { return p.path }

// Add adds a problem of a field below, or of the one that p is at if field is "".
// The text says what is wrong and what to do; %w wraps an error.
func (p *Problems) Add(field, format string, args ...any) {
	top := p.top()
	top.list = append(top.list, &Problem{join(p.path, field), fmt.Errorf(format, args...)})
}

// AddError adds err, at the field below that it names if it is from At.
func (p *Problems) AddError(err error) {
	if one, ok := errors.AsType[*Problem](err); ok {
		p.Add(one.Path, "%w", one.Err)
		return
	}
	p.Add("", "%w", err)
}

// Err returns all problems joined, in the order in which they were added, or nil.
func (p *Problems) Err() error {
	list := p.top().list
	errs := make([]error, len(list))
	for i, one := range list {
		errs[i] = one
	}
	return errors.Join(errs...)
}

func (p *Problems) top() *Problems {
	if p.root != nil {
		return p.root
	}
	return p
}

func join(path, field string) string {
	if path == "" || field == "" || strings.HasPrefix(field, "[") {
		return path + field
	}
	return path + "." + field
}
