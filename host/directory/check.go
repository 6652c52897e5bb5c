package directory

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dirwatch"
)

// Report is the result of a check.
type Report struct {
	Users    int       `json:"users"`
	Teams    int       `json:"teams"`
	Roles    int       `json:"roles"` // including shipped roles
	Problems []Problem `json:"problems"`
	Limits   []Limit   `json:"limits"` // sorted by end
}

// Limit is a membership that ends.
type Limit struct {
	User  host.UserID `json:"user"`
	In    string      `json:"in"` // "role oncall"
	Until time.Time   `json:"until"`
	Ended bool        `json:"ended,omitempty"`
}

// Check reads the files of dir once, like Open, without clusters. The error says
// that dir cannot be listed or that base is malformed.
func Check(dir string, base []byte) (*Report, error) {
	d := &Directory{}
	if err := d.loadBase(base); err != nil {
		return nil, fmt.Errorf("shipped roles: %w", err)
	}
	files, err := dirwatch.Read(dir, ".yaml", ".yml")
	if err != nil {
		return nil, err
	}
	var all []*parsed
	for _, f := range files {
		all = append(all, d.parse(f, nil))
	}
	return d.report(all), nil
}

// CheckText checks the text of one file.
func CheckText(name string, text, base []byte) (*Report, error) {
	d := &Directory{}
	if err := d.loadBase(base); err != nil {
		return nil, fmt.Errorf("shipped roles: %w", err)
	}
	return d.report([]*parsed{parse(name, text, d.shipped)}), nil
}

func (d *Directory) report(all []*parsed) *Report {
	s := build(nil, d.base, all, time.Now())
	r := &Report{Users: len(s.people), Problems: append([]Problem{}, s.problems...), Limits: []Limit{}}
	for _, p := range s.people {
		for set, until := range p.until {
			r.Limits = append(r.Limits, Limit{p.User, string(set.from.Kind) + " " + set.from.ID, until, slices.Contains(p.ended, set)})
		}
	}
	slices.SortFunc(r.Limits, func(x, y Limit) int {
		return cmp.Or(x.Until.Compare(y.Until), cmp.Compare(x.User, y.User), cmp.Compare(x.In, y.In))
	})
	for from := range s.sets {
		switch from.Kind {
		case host.FromTeam:
			r.Teams++
		case host.FromRole:
			r.Roles++
		}
	}
	return r
}
