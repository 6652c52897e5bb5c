// Package console serves the console page: one HTML page and the scripts and styles that
// it loads, which are built from the folder page and embedded.
//
// The page shows nothing itself: every figure in it is the answer of a route, asked for as
// the user, so that the page needs no rights and no session of its own. It knows no
// plugin. What it offers comes from GET /auth/routes.
//
// The folder dist is made by `make console` and is not in the repository. A program that
// was built without it says so at "/".
package console
