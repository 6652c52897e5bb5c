package door

import (
	"bytes"
	"html/template"
	"net/http"
	"path"
	"regexp"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/gateway"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/ui"
)

// pageAction is the action of the files of plugins' pages. They are public: a frame of an
// opaque origin sends no cookie, and who knows a module's digest has had the module
// described to them. Nothing of a user is in them.
const pageAction host.Action = "plugin:page.read"

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Plugin}}</title>
<link rel="stylesheet" href="{{.BaseStyle}}">
{{- if .Style}}
<link rel="stylesheet" href="{{.Style}}">
{{- end}}
<script type="module" src="{{.Script}}"></script>
</head>
<body></body>
</html>
`))

// hostRE is what a Host header may be to become part of a policy.
var hostRE = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?$`)

// page answers GET /ui/PLUGIN/DIGEST/FILE: the page that a plugin brings. The document is
// the host's. Its policy gives it an opaque origin wherever it is opened, lets it load this
// version's files and nothing else, and connect to nothing, and submit no form to anywhere: what it asks for goes through
// the console that frames it.
func (d *door) page(w http.ResponseWriter, r *http.Request) error {
	v := gateway.Vars(r)
	name, digest, file := v["plugin"], v["digest"], v["file"]
	find := func(file string) ([]byte, bool) { return d.Page(name, "sha256:"+digest, file) }
	if _, ok := find(manifest.UIScript); !ok {
		return host.E(host.NotFound, "", "no version of this plugin with a page has this digest; reload the console")
	}
	h := w.Header()
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-DNS-Prefetch-Control", "off")
	if file == "" {
		return d.document(w, r, name, "/ui/"+name+"/"+digest+"/", find)
	}
	data, ok := ui.Files[file]
	if !ok {
		data, ok = find(file)
	}
	kind := manifest.UITypes[path.Ext(file)]
	if !ok || kind == "" {
		return host.E(host.NotFound, "", "the plugin's page has no such file")
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Access-Control-Allow-Origin", "*") // modules and fonts of an opaque origin are asked for so
	h.Set("Cache-Control", "private, max-age=86400")
	if _, own := ui.Files[file]; own {
		h.Set("Cache-Control", "no-cache") // it is this host's, and not the version's
	}
	_, _ = w.Write(data)
	return nil
}

func (d *door) document(w http.ResponseWriter, r *http.Request, name, base string, find func(string) ([]byte, bool)) error {
	data := map[string]string{"Plugin": name, "Script": manifest.UIScript, "BaseStyle": ui.Style}
	if _, ok := find(manifest.UIStyle); ok {
		data["Style"] = manifest.UIStyle
	}
	var text bytes.Buffer
	if err := pageTemplate.Execute(&text, data); err != nil {
		return &host.Error{Kind: host.Internal, Op: "door.document", Err: err}
	}
	from := d.PublicURL.Scheme + "://" + d.PublicURL.Host + base
	if hostRE.MatchString(r.Host) && r.Host != d.PublicURL.Host {
		from += " " + d.PublicURL.Scheme + "://" + r.Host + base // the same console by another name, such as localhost
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src "+from+"; style-src "+from+"; img-src "+from+" data:; font-src "+from+
		"; connect-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts allow-forms")
	_, _ = w.Write(text.Bytes())
	return nil
}
