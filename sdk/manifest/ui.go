package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// UISection is the name of the custom section that contains the files of a plugin's page.
const UISection = "bulkhead.ui"

// Bounds of a plugin's page.
const (
	MaxUIBytes = 4 << 20 // of all files together, with their names
	MaxUIFiles = 128
)

// Files that a page has.
const (
	UIScript = "index.js"  // the ES module that the page begins with; required
	UIStyle  = "index.css" // its style, if it has one
)

// UI is the page that a plugin brings for the console. Its files are in the section
// UISection.
type UI struct {
	Title string `json:"title"` // in the console's menu, at most 40 characters
	// Icon is a file of the page, .svg or .png.
	Icon string `json:"icon,omitempty"`
	// Routes names the plugin's routes that the page may use, unary ones and event
	// streams. It reaches nothing else.
	Routes []string `json:"routes"`
}

// UIFiles are the files of a page by name. Names are lower-case paths without "..", such as
// "index.js" and "lib/table.js".
type UIFiles map[string][]byte

// UITypes are the media types of a page's files by extension; others are refused. The
// document itself is the host's.
var UITypes = map[string]string{
	".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".json": "application/json",
	".svg": "image/svg+xml", ".png": "image/png", ".woff2": "font/woff2",
}

var uiNameRE = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*(/[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*){0,3}$`)

func (u *UI) validate(p *problems, routes []Route) {
	title := strings.TrimSpace(u.Title)
	p.check(title == u.Title && title != "" && len([]rune(title)) <= 40 && printable(title), "ui.title", "%q must be 1 to 40 characters on one line", u.Title)
	if u.Icon != "" {
		p.check(uiNameRE.MatchString(u.Icon) && slices.Contains([]string{".svg", ".png"}, path.Ext(u.Icon)), "ui.icon", "%q must be a file of the page, .svg or .png", u.Icon)
	}
	seen := map[string]bool{}
	for i, name := range u.Routes {
		at := fmt.Sprintf("ui.routes[%d]", i)
		k := slices.IndexFunc(routes, func(r Route) bool { return r.Name == name })
		p.check(k >= 0, at, "there is no route %q", name)
		p.check(k < 0 || routes[k].Kind != Socket, at, "%q is a socket, which a page cannot use", name)
		p.check(!seen[name], at, "%q is listed twice", name)
		seen[name] = true
	}
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' })
}

// Check returns what is wrong with the files of a page whose manifest has u. Both are nil,
// or neither: a page without an entry in the manifest is refused, and the other way round.
func (f UIFiles) Check(u *UI) error {
	switch {
	case u == nil && f == nil:
		return nil
	case u == nil:
		return errors.New("manifest: ui: is missing, but the plugin has files of a page")
	case f == nil:
		return errors.New("manifest: ui: the plugin has no files of a page; the folder ui beside manifest.json has them")
	}
	var p problems
	size := 0
	p.check(len(f) <= MaxUIFiles, "ui", "the page has %d files, the limit is %d", len(f), MaxUIFiles)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		size += len(name) + len(f[name])
		p.check(len(name) <= 200 && uiNameRE.MatchString(name), "ui", "%q is not the name of a file: lower-case letters, digits, dashes, dots, at most three folders", name)
		p.check(!strings.HasPrefix(name, "bulkhead."), "ui", "%s: the names bulkhead.* are those of the files that the host adds", name)
		p.check(UITypes[path.Ext(name)] != "", "ui", "%s: the kinds of files are %s", name, strings.Join(slices.Sorted(maps.Keys(UITypes)), " "))
	}
	p.check(size <= MaxUIBytes, "ui", "the page has %d bytes, the limit is %d", size, MaxUIBytes)
	p.check(len(f[UIScript]) > 0, "ui", "the page has no %s, or it is empty", UIScript)
	p.check(u.Icon == "" || f[u.Icon] != nil, "ui.icon", "the page has no file %q", u.Icon)
	return errors.Join(p...)
}

// uiMagic begins the section. For each file, by name: the length of the name in two bytes,
// that of the file in four, both little-endian, the name, the file.
var uiMagic = []byte("bui1")

func (f UIFiles) encode() []byte {
	out := slices.Clone(uiMagic)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		out = binary.LittleEndian.AppendUint16(out, uint16(len(name)))
		out = binary.LittleEndian.AppendUint32(out, uint32(len(f[name])))
		out = append(append(out, name...), f[name]...)
	}
	return out
}

func decodeUI(data []byte) (UIFiles, error) {
	rest, ok := bytes.CutPrefix(data, uiMagic)
	if !ok || len(rest) > MaxUIBytes+6*MaxUIFiles {
		return nil, fmt.Errorf("the section %q is not a page, or is larger than %d bytes", UISection, MaxUIBytes)
	}
	files, last := UIFiles{}, ""
	for len(rest) > 0 {
		if len(rest) < 6 {
			return nil, fmt.Errorf("the section %q ends within a file", UISection)
		}
		n, size := int(binary.LittleEndian.Uint16(rest)), int64(binary.LittleEndian.Uint32(rest[2:]))
		rest = rest[6:]
		if int64(n)+size > int64(len(rest)) || len(files) == MaxUIFiles {
			return nil, fmt.Errorf("the section %q ends within a file, or has more than %d", UISection, MaxUIFiles)
		}
		name := string(rest[:n])
		if name <= last {
			return nil, fmt.Errorf("the section %q has %.80q twice, or not in order", UISection, name)
		}
		files[name], last = slices.Clone(rest[n:n+int(size)]), name
		rest = rest[n+int(size):]
	}
	return files, nil
}

// EmbedUI returns module with the files of a page in place of those that it has; without
// any if files is nil.
func EmbedUI(module []byte, files UIFiles) ([]byte, error) {
	if files == nil {
		return without(module, UISection)
	}
	return embed(module, UISection, files.encode())
}

// ExtractUI returns the files of the page in a module, checked against its manifest; nil if
// it has none. The files share no memory with module.
func ExtractUI(module []byte, m *Manifest) (UIFiles, error) {
	found, err := find(module, UISection)
	if err != nil {
		return nil, err
	}
	var files UIFiles
	switch len(found) {
	case 0:
	case 1:
		if files, err = decodeUI(found[0]); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("module has %d custom sections %q, want one", len(found), UISection)
	}
	return files, files.Check(m.UI)
}
