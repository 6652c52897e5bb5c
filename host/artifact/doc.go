// Package artifact brings plugins, catalogues and policy bundles from where operators
// keep them: a local file, a web server, an OCI registry, an OCI image layout.
//
// A Reference names one. Store fetches plugins, verifies them and keeps them on disk;
// Client does so without keeping them, and pushes, signs, copies and lists. Packages says
// which of them administrators may install while the host runs. What has to
// be signed, and by whom, is a Verification. Bytes are verified before anything parses
// them: digest, then signatures, then format. A refusal is a *Refusal, one sentence with
// the step, the field and what to do.
//
// Open follows one policy bundle: it owns fetching and its bounds, polling, the copy on
// disk that a start uses while the place is away, and the protection against being given
// an old bundle again. How a bundle is signed and what is in it belongs to its Format.
package artifact
