// Package health knows which real servers serve: it asks them, believes no single answer,
// and says what follows for each service. It knows probes, rise and fall, quorum, slow
// start and who is told of changes; it must not know tables, packets or who applies what
// it says.
package health
