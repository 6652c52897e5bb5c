// Package config reads a configuration and describes it, and knows no section of it:
// strict YAML and the environment (Read), problems by path and line (Problems, File),
// digests of sections and differences between two configurations (Sections,
// Difference), and the reference that is generated from the schema (Reference). The
// sections themselves, with their checks, are in the packages that they configure, and
// the whole is in host/server.
package config
