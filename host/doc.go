// Package host is the vocabulary of Bulkhead: the words that every other
// package uses, and the error kinds that they return. It owns no behaviour
// beyond what follows from a word's definition (whether an action matches a
// pattern, which text of an error is public), starts nothing and imports only
// the standard library.
//
// The zero value of everything here grants nothing: a zero Decision denies, a
// zero Principal is nobody, a zero Error is an internal error whose text stays
// with the operator.
package host
