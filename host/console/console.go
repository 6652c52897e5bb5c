package console

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
)

//go:embed all:dist
var dist embed.FS

//go:embed index.html
var indexFile string

var index = template.Must(template.New("index").Parse(indexFile))

const (
	action = host.Action("host:console.read")
	// manifest names what the page loads first. page/build.mjs writes it.
	manifest = "manifest.json"
)

// types are those of the files that the page loads. Others are not served.
var types = map[string]string{
	".js":  "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8",
}

// Mount adds the page at "/" and its files below "/console/". Both answer everybody, since
// they are the same for everybody; the page signs in by the routes of sign-in.
func Mount(g *gateway.Gateway) {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name is a constant
	}
	mount(g, sub)
}

func mount(g *gateway.Gateway, files fs.FS) {
	p := &page{files: files}
	p.problem = p.read()
	g.Mount(
		gateway.Route{Method: "GET", Path: "/", Access: gateway.Public, Action: action, Handle: p.index},
		gateway.Route{Method: "GET", Path: "/console/{file}", Access: gateway.Always, Action: action, Handle: p.file},
	)
}

// page serves the files of a build.
type page struct {
	files   fs.FS // each file with .gz after its name, compressed
	first   struct{ Script, Style string }
	problem error // why there is no page
}

func (p *page) read() error {
	text, err := fs.ReadFile(p.files, manifest)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &p.first); err != nil {
		return err
	}
	for _, name := range []string{p.first.Script, p.first.Style} {
		if _, err := fs.Stat(p.files, name+".gz"); err != nil {
			return fmt.Errorf("%s: %w", manifest, err)
		}
	}
	return nil
}

// index answers GET /. The page runs the script with the nonce of this answer and what that
// script imports, loads nothing from elsewhere, and is shown in no frame. Libraries that
// make style elements give them the nonce.
func (p *page) index(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if p.problem != nil {
		if !errors.Is(p.problem, fs.ErrNotExist) {
			return &host.Error{Kind: host.Internal, Op: "console.index", Err: p.problem}
		}
		return host.E(host.NotFound, "", "this program was built without its console page; `make build`, which needs Node.js, builds it with the page")
	}
	nonce := rand.Text()
	var text bytes.Buffer
	if err := index.Execute(&text, map[string]string{"Nonce": nonce, "Script": p.first.Script, "Style": p.first.Style}); err != nil {
		return &host.Error{Kind: host.Internal, Op: "console.index", Err: err}
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+nonce+"' 'strict-dynamic'; style-src 'self' 'nonce-"+nonce+
		"'; img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	_, _ = w.Write(text.Bytes())
	return nil
}

// file answers GET /console/NAME. A file's name has a hash of its content, so that it never
// changes and may be kept.
func (p *page) file(w http.ResponseWriter, r *http.Request) error {
	name := gateway.Vars(r)["file"]
	kind, known := types[path.Ext(name)]
	packed, err := fs.ReadFile(p.files, name+".gz")
	if !known || err != nil {
		return host.E(host.NotFound, "", "the console page has no such file; reload the page if it was open while the host was replaced")
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed)
		return nil
	}
	text, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return &host.Error{Kind: host.Internal, Op: "console.file", Err: err}
	}
	_, _ = io.Copy(w, text) // our own file, as long as the build made it
	return nil
}
