//go:build amd64 || arm64

package packet

import "unsafe"

// Prefetch asks for the cache line at p and does not wait for it. Any p will do.
//
//go:noescape
func Prefetch(p unsafe.Pointer)

// PrefetchWrite is Prefetch for a line that will be written: another processor gives it up
// at once, and not first a copy of it.
//
//go:noescape
func PrefetchWrite(p unsafe.Pointer)
