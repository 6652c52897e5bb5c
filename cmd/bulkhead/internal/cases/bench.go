package cases

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// BaselineFile is the baseline's name in a plugin's directory.
const BaselineFile = "bench.json"

// rounds is how often each case is run.
const rounds = 21

// Cost is what a call costs: the median of several calls.
type Cost struct {
	// Fuel is about one for each instruction.
	Fuel uint64 `json:"fuel"`
	// MemoryKiB is the size of the instance's memory after the call.
	MemoryKiB int `json:"memoryKiB"`
	// ChangedKiB is what the call has changed of it, in pages of 4 KiB: what it
	// allocated, and what it overwrote. -1 where that is not known.
	ChangedKiB int `json:"changedKiB"`
	// Allocations of the plugin's language, and their bytes. -1 where they are not known: only
	// the SDK for Go counts them.
	Allocations    int `json:"allocations"`
	AllocatedBytes int `json:"allocatedBytes"`
}

// Baseline is costs to compare with, by route and case.
type Baseline map[string]Cost

// Measurement is the cost of a case, and that of the baseline.
type Measurement struct {
	Route string `json:"route"`
	Case  string `json:"case"`
	Cost
	Was *Cost `json:"baseline,omitempty"` // nil: it has none
	// Worse names what has grown by more than the factor.
	Worse []string `json:"worse,omitempty"`
}

func (m *Measurement) key() string { return m.Route + ": " + m.Case }

// Bench runs each case that calls a unary route several times, and compares its cost with
// the baseline's. Costs are compared, and not times, because they hardly depend on the
// machine. A case that fails is an error.
func Bench(ctx context.Context, o Options, factor float64) (list []Measurement, err error) {
	base, err := readBaseline(o.Dir)
	if err != nil {
		return nil, err
	}
	o.measured = true
	err = each(ctx, o, func(r *rig, _ string, c *Case) error {
		if c.Socket != nil || c.Events != nil {
			return nil // what a session costs depends on how long it lives
		}
		m, err := r.measure(ctx, c)
		if err != nil || m == nil {
			return err
		}
		if was, ok := base[m.key()]; ok {
			m.Was = &was
			m.Worse = m.Cost.worse(was, factor)
		}
		list = append(list, *m)
		return nil
	})
	return list, err
}

// measure returns nil if the plugin is not called, because the host refuses the request.
func (r *rig) measure(ctx context.Context, c *Case) (*Measurement, error) {
	var fuel []uint64
	var memory, changed, allocations, allocated []int
	m := &Measurement{Case: c.Name}
	for range rounds {
		result, err := r.run(ctx, c)
		switch {
		case err != nil:
			return nil, err
		case !result.Passed:
			return nil, fmt.Errorf("the case fails: %s", result.Problems[0])
		case result.Usage == nil:
			return nil, nil
		}
		u := result.Usage
		m.Route = u.Route
		fuel, memory, changed = append(fuel, u.Fuel), append(memory, u.MemoryBytes>>10), append(changed, u.ChangedBytes>>10)
		allocations, allocated = append(allocations, u.Allocations), append(allocated, u.AllocatedBytes)
	}
	m.Cost = Cost{median(fuel), median(memory), median(changed), median(allocations), median(allocated)}
	return m, nil
}

func median[T int | uint64](list []T) T {
	slices.Sort(list)
	return list[len(list)/2]
}

// How much more may be used whatever the factor is, in KiB. A call that changes few pages
// changes more or fewer by chance, and Go's heap grows by pieces of 512 KiB, one more or
// less by the seeds of its maps.
const (
	changedSlack = 32
	memorySlack  = 1024
)

func (c Cost) worse(was Cost, factor float64) (what []string) {
	if float64(c.Fuel) > float64(was.Fuel)*factor {
		what = append(what, "fuel")
	}
	if float64(c.MemoryKiB) > float64(was.MemoryKiB)*factor+memorySlack {
		what = append(what, "memory")
	}
	if was.ChangedKiB >= 0 && float64(c.ChangedKiB) > float64(was.ChangedKiB)*factor+changedSlack {
		what = append(what, "changed")
	}
	// A baseline of an older version has none of these.
	if was.Allocations > 0 && float64(c.Allocations) > float64(was.Allocations)*factor {
		what = append(what, "allocations")
	}
	if was.AllocatedBytes > 0 && float64(c.AllocatedBytes) > float64(was.AllocatedBytes)*factor {
		what = append(what, "allocated bytes")
	}
	return what
}

const maxBaseline = 4 << 20 // bytes of a baseline's file

func readBaseline(dir string) (Baseline, error) {
	path := filepath.Join(dir, BaselineFile)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	base := Baseline{}
	d := json.NewDecoder(io.LimitReader(file, maxBaseline))
	d.DisallowUnknownFields()
	if err := d.Decode(&base); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return base, nil
}

// Update writes measurements as the baseline.
func Update(dir string, list []Measurement) error {
	base := Baseline{}
	for _, m := range list {
		base[m.key()] = m.Cost
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(base); err != nil {
		return err
	}
	path := filepath.Join(dir, BaselineFile)
	if err := os.WriteFile(path+".new", out.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
