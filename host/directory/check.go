package directory

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dirwatch"
)

// Report is what files come to.
type Report struct {
	Users    int       `json:"users"`
	Teams    int       `json:"teams"`
	Roles    int       `json:"roles"` // with the shipped ones
	Problems []Problem `json:"problems"`
}

// Check reads the files of dir once, as Open does. What clusters hold is not
// looked at. The error says that dir cannot be listed, or that base is
// malformed.
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
		all = append(all, d.parse(f))
	}
	return d.report(all), nil
}

// CheckText reads one file's text as Check reads all of a directory.
func CheckText(name string, text, base []byte) (*Report, error) {
	d := &Directory{}
	if err := d.loadBase(base); err != nil {
		return nil, fmt.Errorf("shipped roles: %w", err)
	}
	return d.report([]*parsed{parse(name, text, d.shipped)}), nil
}

func (d *Directory) report(all []*parsed) *Report {
	s := build(nil, d.base, all)
	r := &Report{Users: len(s.people), Problems: append([]Problem{}, s.problems...)}
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
