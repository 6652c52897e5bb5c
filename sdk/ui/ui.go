// Package ui has the files that a plugin's page gets from the host beside its own: the
// bridge to the console, bulkhead.js, a style in the console's colours, bulkhead.css, and a
// few elements, bulkhead.dom.js. A page imports the first and the last; the style is part of
// its document. bulkhead.d.ts describes the bridge for editors and TypeScript.
//
// A page runs in a frame of an opaque origin. It has no cookies and no storage, loads its
// own files and nothing else, and connects to nothing. What it asks for, the console asks
// for as the user, if the route is among those that the page's manifest names.
package ui

import _ "embed"

// Names of the files. A plugin's page has no file of these names.
const (
	Bridge = "bulkhead.js"
	Style  = "bulkhead.css"
	DOM    = "bulkhead.dom.js" // elements for pages without a library
)

//go:embed bulkhead.js
var bridge []byte

//go:embed bulkhead.css
var style []byte

//go:embed bulkhead.dom.js
var dom []byte

// Files are the files by name. They must not be changed.
var Files = map[string][]byte{Bridge: bridge, Style: style, DOM: dom}
