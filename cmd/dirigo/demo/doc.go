// Package demo shows a whole cluster at work on one machine: a client, a director and
// three real servers in network namespaces of their own, once for each forwarding
// method, with real HTTP requests whose answers are counted.
//
// Every part but the cables is a child process of this binary: the director is "dirigo
// run". It knows namespaces, links and processes; it must not know how the director
// works.
package demo
