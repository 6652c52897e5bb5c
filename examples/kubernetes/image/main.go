// Command image packs the host into an OCI image layout, without a container engine: the
// static program for each platform, the plugins, and an SBOM (SPDX) for each image. What
// it writes depends on its input alone, so the same input gives the same digests.
//
//	image -o DIR -version V -commit C -epoch SECONDS -plugins DIR linux/amd64=PROGRAM linux/arm64=PROGRAM
//
// `make image` calls it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// options are what the images are made of.
type options struct {
	out, version, commit, plugins string
	created                       time.Time
	programs                      []program
}

// program is a static program for one platform.
type program struct {
	platform v1.Platform
	path     string
}

func main() {
	var o options
	epoch := flag.Int64("epoch", 0, "time of the images and their files, in seconds since 1970")
	flag.StringVar(&o.out, "o", "", "directory of the layout; must not exist")
	flag.StringVar(&o.version, "version", "", "version of the host; also the tag in the layout")
	flag.StringVar(&o.commit, "commit", "", "git commit of the host")
	flag.StringVar(&o.plugins, "plugins", "", "directory of the plugins (*.wasm)")
	flag.Parse()
	o.created = time.Unix(*epoch, 0).UTC()
	err := o.parse(flag.Args())
	var digest v1.Hash
	if err == nil {
		digest, err = write(&o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	fmt.Printf("%s:%s@%s\n", o.out, o.version, digest)
}

// tag is what can be the tag of an image (OCI distribution specification 1.1).
var tag = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

func (o *options) parse(programs []string) error {
	if o.out == "" || o.version == "" || len(programs) == 0 {
		return errors.New("-o, -version and a program for each platform (linux/amd64=FILE) are required")
	}
	if !tag.MatchString(o.version) {
		return fmt.Errorf("-version: %q cannot be a tag", o.version)
	}
	for _, text := range programs {
		name, path, ok := strings.Cut(text, "=")
		platform, err := v1.ParsePlatform(name)
		if !ok || err != nil || platform.OS == "" || platform.Architecture == "" {
			return fmt.Errorf("%q is not PLATFORM=FILE, such as linux/amd64=bulkhead", text)
		}
		o.programs = append(o.programs, program{*platform, path})
	}
	return nil
}

// write writes the layout: an index of the images, and the SBOM of each as a referrer of
// it (OCI distribution specification 1.1). It leaves nothing if it fails.
func write(o *options) (_ v1.Hash, err error) {
	if _, err := os.Lstat(o.out); err == nil {
		return v1.Hash{}, fmt.Errorf("%s exists", o.out)
	}
	partly := o.out + ".partly"
	if err := os.RemoveAll(partly); err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(partly)
	to, err := layout.Write(partly, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	index = mutate.Annotations(index, o.annotations()).(v1.ImageIndex)
	var boms []v1.Image
	for _, p := range o.programs {
		image, bom, err := o.image(p)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("%s: %w", p.platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &p.platform}})
		boms = append(boms, bom)
	}
	if err := to.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": o.version})); err != nil {
		return v1.Hash{}, err
	}
	for _, bom := range boms {
		if err := to.AppendImage(bom); err != nil {
			return v1.Hash{}, err
		}
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	return digest, os.Rename(partly, o.out)
}

func (o *options) annotations() map[string]string {
	a := map[string]string{
		"org.opencontainers.image.title": "bulkhead", "org.opencontainers.image.version": o.version, "org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.created": o.created.Format(time.RFC3339),
	}
	if o.commit != "" {
		a["org.opencontainers.image.revision"] = o.commit
	}
	return a
}

// user is the user and group id that the host runs as, which minimal images commonly use.
const user = 65532

// image returns the image for one platform, and its SBOM.
func (o *options) image(p program) (image, bom v1.Image, err error) {
	files, err := o.files(p)
	if err != nil {
		return nil, nil, err
	}
	layer, err := layerOf(files, o.created)
	if err != nil {
		return nil, nil, err
	}
	image = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS: p.platform.OS, Architecture: p.platform.Architecture, Variant: p.platform.Variant, Created: v1.Time{Time: o.created},
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User: fmt.Sprintf("%d:%[1]d", user), WorkingDir: "/", Labels: o.annotations(),
			Entrypoint: []string{programPath}, Cmd: []string{"serve", "--config", "/etc/bulkhead/bulkhead.yaml"},
			Env:          []string{"PATH=/usr/bin", "HOME=/tmp"},
			ExposedPorts: map[string]struct{}{"8080/tcp": {}, "9090/tcp": {}},
			Volumes:      map[string]struct{}{"/data": {}},
		},
	})
	if err != nil {
		return nil, nil, err
	}
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: o.created}, CreatedBy: "make image"}})
	if err != nil {
		return nil, nil, err
	}
	text, err := o.bom(p, files)
	if err != nil {
		return nil, nil, err
	}
	bom, err = refer(image, text)
	return image, bom, err
}

const spdx = "application/spdx+json"

// refer returns an artifact with an SBOM that refers to the image.
func refer(image v1.Image, text []byte) (v1.Image, error) {
	subject, err := partial.Descriptor(image)
	if err != nil {
		return nil, err
	}
	subject.Platform, subject.Annotations = nil, nil
	bom := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), spdx)
	if bom, err = mutate.AppendLayers(bom, static.NewLayer(text, spdx)); err != nil {
		return nil, err
	}
	return mutate.Subject(bom, *subject).(v1.Image), nil
}
