//go:build !amd64 && !arm64

package packet

import "unsafe"

// Prefetch does nothing: the processor finds out by itself.
func Prefetch(unsafe.Pointer) {}

// PrefetchWrite does nothing either.
func PrefetchWrite(unsafe.Pointer) {}
