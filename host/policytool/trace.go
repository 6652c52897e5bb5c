package policytool

import (
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// tracer keeps which rules held and which conditions failed, in the order in
// which they are met when reading from the decision downwards.
type tracer struct {
	held, unmet []Place
	seen        map[Place]bool
}

func (*tracer) Enabled() bool               { return true }
func (*tracer) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// maxPlaces bounds what a tracer keeps of each kind.
const maxPlaces = 20

func (t *tracer) TraceEvent(e topdown.Event) {
	switch node := e.Node.(type) {
	case *ast.Rule:
		if e.Op == topdown.ExitOp {
			// The outermost rule exits last.
			if p := place(plainRef.Replace(node.Ref().GroundPrefix().String()), node.Location); !t.seen[p] && !node.Default {
				t.seen[p] = true
				t.held = append([]Place{p}, t.held[:min(len(t.held), maxPlaces-1)]...)
			}
		}
	case *ast.Expr:
		if e.Op == topdown.FailOp && node.Location != nil && node.Location.File != "" && len(t.unmet) < maxPlaces {
			text := strings.TrimSpace(string(node.Location.Text))
			if strings.HasPrefix(text, "not ") && !node.Negated {
				return // what is negated did not hold, so that the condition did
			}
			if p := place(text, node.Location); !t.seen[p] {
				t.seen[p] = true
				t.unmet = append(t.unmet, p)
			}
		}
	}
}

// plainRef writes the shipped rules' package, whose last part is a keyword of
// Rego, as people do.
var plainRef = strings.NewReplacer("data.", "", `["default"]`, ".default")

func place(text string, l *ast.Location) Place {
	text, _, _ = strings.Cut(text, "\n")
	return Place{text, fmt.Sprintf("%s:%d", l.File, l.Row)}
}
