// Package nodes plays the nodes and the life of their pods with kwok's controllers: no container runs, but pods are
// scheduled, become ready, complete if they belong to a Job, and go away when deleted, by the rules in stages.yaml.
package nodes
