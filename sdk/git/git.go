// Package git is the client of the capability "git", which reads the git repositories of
// the operator's configuration. The host has the credentials. A call must be allowed by
// the manifest, the grant and policy, and the repository's server must accept the host's
// credential.
//
// Addresses, refs and paths may come directly from a request: the host refuses invalid
// ones with status 400. Other errors are *sdk.Error as well: 404 for a repository, ref or
// path that does not exist, 422 for content that is refused (symbolic links, submodules)
// or over a bound, 502 for a server that fails or refuses the host's credential.
package git

import (
	"encoding/json"
	"net/url"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/rest"
)

// Repository is a repository that calls are about. Make it with At or Source.
type Repository struct {
	address string
	source  string
	below   string
}

// At is the repository at an address: https://SERVER/PATH, ssh://USER@SERVER/PATH or
// USER@SERVER:PATH. It must belong to a source of the operator's configuration.
func At(address string) Repository { return Repository{address: address} }

// Source is a source by its name in the operator's configuration. For a source of several
// repositories, path is the repository's path below it; otherwise it is empty.
func Source(name, path string) Repository { return Repository{source: name, below: path} }

// Branch returns the full ref of a branch. Files and Manifests also take "HEAD", the full
// refs of tags, and the 40 digits of a commit; "" is HEAD.
func Branch(name string) string { return "refs/heads/" + name }

// Where says what was read. Commit has 40 digits.
type Where struct {
	Source     string `json:"source"`
	Repository string `json:"repository"` // SERVER/PATH
	Ref        string `json:"ref"`
	Commit     string `json:"commit"`
	Path       string `json:"path"`
}

// File is a file of a repository. LFS means that Content is a pointer to a file in Git
// LFS, which the host does not read.
type File struct {
	Path    string `json:"path"`
	Content []byte `json:"content"`
	LFS     bool   `json:"lfs"`
}

// Files are the files at or below a path, in order of their paths.
type Files struct {
	Where
	Files []File `json:"files"`
}

// The forms of what a path declares. The host does not render a chart: Objects is empty.
const (
	FormManifests     = "manifests"
	FormKustomization = "kustomization"
	FormChart         = "chart"
)

// Manifests are the Kubernetes objects that a path declares. If a file is invalid, Problems
// says why, and Objects is empty.
type Manifests struct {
	Where
	Form     string    `json:"form"`
	Objects  []Object  `json:"objects"`
	Problems []Problem `json:"problems"`
}

// Object is one object with the file and, for manifests, the line that declare it. It is
// a JSON object with apiVersion, kind and metadata.name.
type Object struct {
	File   string          `json:"file"`
	Line   int             `json:"line"`
	Object json.RawMessage `json:"object"`
}

// Problem is why a file is invalid. Line is 0 if it is about the whole file.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// Refs are the branches and tags of a repository, by name. Head is the ref that HEAD
// means, or "" if the server does not say it.
type Refs struct {
	Where
	Head string `json:"head"`
	Refs []Ref  `json:"refs"`
}

// Ref is a branch or tag, by its full name, and its commit.
type Ref struct {
	Name   string `json:"name"`
	Commit string `json:"commit"`
}

// Files reads the files at or below path; "" is the repository's root.
func (r Repository) Files(ref, path string) (*Files, error) {
	var out Files
	return &out, r.get("files", ref, path, &out)
}

// Manifests reads the Kubernetes objects that the file or directory at path declares. A
// kustomization in the directory is built.
func (r Repository) Manifests(ref, path string) (*Manifests, error) {
	var out Manifests
	return &out, r.get("manifests", ref, path, &out)
}

// Refs lists the branches and tags.
func (r Repository) Refs() (*Refs, error) {
	var out Refs
	return &out, r.get("refs", "", "", &out)
}

func (r Repository) get(as, ref, path string, out any) error {
	target := "git://url"
	query := url.Values{"as": {as}}
	switch {
	case r.address == "" && r.source == "":
		return &abi.Error{Code: abi.CodeInvalid, Status: 400, Message: "repository is required"}
	case r.address != "":
		query.Set("url", r.address)
	default:
		target = "git://" + url.PathEscape(r.source)
		if r.below != "" {
			target += "/" + r.below
		}
	}
	for key, value := range map[string]string{"ref": ref, "path": path} {
		if value != "" {
			query.Set(key, value)
		}
	}
	return rest.Do(fetch, "GET", target+"?"+query.Encode(), nil, out)
}
