package dataplane

import (
	"encoding/binary"
	"math/bits"

	"github.com/dirigo-lb/dirigo/packet"
)

// A trie is a map of which copies are cheap: a copy shares all it holds with the
// original, and a change copies only the way to what it changes. So the table that the
// workers read stays as it is while the writer changes the next one, and one more service
// costs the same among ten thousand as among ten.
//
// The way is two nodes of 256 places, chosen by the key's hash, and a chain, which is one
// or two cells long with a hundred thousand keys. The zero trie is empty.
type trie[K trieKey, V any] struct {
	root *trieNode[trieNode[cell[K, V]]]
}

type trieKey interface {
	comparable
	hash() uint32
}

// trieNode belongs to the table of generation born, which may change it until it is
// published; later ones copy it first.
type trieNode[T any] struct {
	born uint64
	at   [1 << trieBits]*T
}

const trieBits = 8

// cell is never changed once it is in a chain.
type cell[K, V any] struct {
	key   K
	value V
	next  *cell[K, V]
}

// get is the value of a key, the zero value for none.
func (t *trie[K, V]) get(k K) (v V) {
	if t.root == nil {
		return v
	}
	h := k.hash()
	n := t.root.at[h>>trieBits&(1<<trieBits-1)]
	if n == nil {
		return v
	}
	for c := n.at[h&(1<<trieBits-1)]; c != nil; c = c.next {
		if c.key == k {
			return c.value
		}
	}
	return v
}

// set gives a key a value, in the table of generation gen, which is not published yet.
func (t *trie[K, V]) set(gen uint64, k K, v V) {
	place := t.place(gen, k)
	*place = &cell[K, V]{k, v, without(*place, k)}
}

// remove takes a key out, as set puts it in.
func (t *trie[K, V]) remove(gen uint64, k K) {
	place := t.place(gen, k)
	*place = without(*place, k)
}

// place is where the chain of a key begins, on nodes that are gen's own.
func (t *trie[K, V]) place(gen uint64, k K) **cell[K, V] {
	h := k.hash()
	t.root = t.root.owned(gen)
	n := &t.root.at[h>>trieBits&(1<<trieBits-1)]
	*n = (*n).owned(gen)
	return &(*n).at[h&(1<<trieBits-1)]
}

func (n *trieNode[T]) owned(gen uint64) *trieNode[T] {
	switch {
	case n == nil:
		return &trieNode[T]{born: gen}
	case n.born != gen:
		own := *n
		own.born = gen
		return &own
	}
	return n
}

// without is a chain without a key. Cells before it are made anew, those behind shared.
func without[K trieKey, V any](c *cell[K, V], k K) *cell[K, V] {
	for at := c; at != nil; at = at.next {
		if at.key != k {
			continue
		}
		rest := at.next
		for ; c != at; c = c.next {
			rest = &cell[K, V]{c.key, c.value, rest}
		}
		return rest
	}
	return c
}

// each calls f for every key.
func (t *trie[K, V]) each(f func(K, V)) {
	if t.root == nil {
		return
	}
	for _, n := range t.root.at {
		if n == nil {
			continue
		}
		for _, c := range n.at {
			for ; c != nil; c = c.next {
				f(c.key, c.value)
			}
		}
	}
}

// The hashes need not withstand anybody's malice: what is in the tries is the operator's.

func (a vipKey) hash() uint32 { return hashAddr((*packet.Addr)(&a), 0) }

func (k serviceAddr) hash() uint32 {
	x := uint64(k.port)<<16 | uint64(k.proto)<<8
	if k.v6 {
		x |= 1
	}
	return hashAddr(&k.addr, x)
}

func (k fwmarkKey) hash() uint32 {
	x := uint64(k.mark) << 1
	if k.v6 {
		x |= 1
	}
	return mix(x, 0)
}

func hashAddr(a *packet.Addr, more uint64) uint32 {
	return mix(binary.LittleEndian.Uint64(a[:8])+more*0x9e3779b97f4a7c15, binary.LittleEndian.Uint64(a[8:])+more)
}

// mix folds the product of two odd-constant multiples, as wyhash does.
func mix(a, b uint64) uint32 {
	hi, lo := bits.Mul64(a^0xa0761d6478bd642f, b^0xe7037ed1a0b428db)
	x := hi ^ lo
	return uint32(x ^ x>>32)
}
