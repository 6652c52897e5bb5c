package manifest

import (
	"slices"
	"strings"
	"testing"
)

func TestHandlersAndRoutesAreCompared(t *testing.T) {
	m := &Manifest{Routes: []Route{
		{Name: "list", Kind: Unary, Method: "GET", Path: "/releases"},
		{Name: "get", Kind: Unary, Method: "GET", Path: "/releases/{name}"},
		{Name: "watch", Kind: Events, Method: "GET", Path: "/watch"},
	}}
	for name, c := range map[string]struct {
		h    Handlers
		want []string
	}{
		"names":          {Handlers{[]string{"list", "get"}, []string{"watch"}}, nil},
		"patterns":       {Handlers{[]string{"GET /releases/{name}", "GET /releases"}, []string{"GET /watch"}}, nil},
		"missing":        {Handlers{[]string{"list"}, []string{"watch"}}, []string{`route "get" (GET /releases/{name}) of the manifest has no handler`}},
		"too many":       {Handlers{[]string{"list", "get", "old"}, []string{"watch"}}, []string{`the handler "old" has no route`}},
		"twice":          {Handlers{[]string{"list", "GET /releases", "get"}, []string{"watch"}}, []string{`route "list" (GET /releases) has 2 handlers`}},
		"other kind":     {Handlers{[]string{"list", "get", "watch"}, nil}, []string{`route "watch" (GET /watch) is of kind events, and its handler must be registered with session.Handle or session.Route`}},
		"other method":   {Handlers{[]string{"list", "POST /releases/{name}"}, []string{"watch"}}, []string{"has no handler", `the handler "POST /releases/{name}" has no route`}},
		"other variable": {Handlers{[]string{"list", "GET /releases/{id}"}, []string{"watch"}}, []string{"has no handler", "has no route"}},
	} {
		var got []string
		if err := m.CheckHandlers(c.h); err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if len(got) != len(c.want) || !slices.EqualFunc(got, c.want, strings.Contains) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestAListOfHandlersIsParsedOrRefused(t *testing.T) {
	h, err := ParseHandlers("unary list\nsession GET /watch\nunary GET /a/{b}\n")
	if err != nil || !slices.Equal(h.Unary, []string{"list", "GET /a/{b}"}) || !slices.Equal(h.Sessions, []string{"GET /watch"}) {
		t.Errorf("%+v, %v", h, err)
	}
	for text, want := range map[string]string{
		"unary": "line 1", "unary a\n\n": "line 2", "binary a\n": "neither", "unary \n": "line 1", strings.Repeat("unary a\n", 2000): "more than",
	} {
		if _, err := ParseHandlers(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseHandlers(f *testing.F) {
	f.Add("unary list\nsession GET /watch\n")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHandlers(text)
		if n := len(h.Unary) + len(h.Sessions); n > maxHandlers || err != nil && n > 0 {
			t.Errorf("%d handlers, %v", n, err)
		}
	})
}
