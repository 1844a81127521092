// Package lab gives tests network namespaces with links between them, processes inside,
// and ears on the wire. All of it goes away with the test that asked for it; what a
// killed test process left, the next one's Sweep removes.
//
// It knows Linux and its tools; it must not know what a director is.
package lab
