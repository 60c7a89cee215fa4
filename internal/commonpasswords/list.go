// Package commonpasswords has a list of common passwords, so that they can be refused.
//
// # The list
//
// It holds the 17,950 passwords of at least 8 characters among the 49,233 of the npm package
// @zxcvbn-ts/language-common, version 4.1.3, which is under the MIT licence: see the file LICENSE
// in this folder. Shorter ones are left out, because their length is refused anyway.
//
// # Why hashes
//
// The file list.bin holds the first 8 bytes of the SHA-256 of each password, sorted, without
// separators. So the list is small (143,600 bytes), and is searched in place, because all entries
// have one width. It also keeps offensive words, which passwords are full of, out of the source
// tree. It hides nothing: the list is public.
//
// The price is that a password which is not on the list may share 8 bytes with one that is. The
// chance is 17,950 in 2^64, about 1 in 10^15, and the harm is one good password refused.
//
// # Regenerating it
//
// The same package gives the same bytes:
//
//	npm pack @zxcvbn-ts/language-common@4.1.3
//	tar -xzf zxcvbn-ts-language-common-4.1.3.tgz
//	LANGUAGE_COMMON=$PWD/package go generate example.com/recovery/internal/commonpasswords
package commonpasswords

import (
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"sort"
)

//go:generate go run ./generate -in $LANGUAGE_COMMON -out list.bin

const (
	width   = 8  // bytes kept of each hash
	longest = 64 // bytes; the generator refuses a longer entry
)

//go:embed list.bin
var list []byte

// Contains reports whether password is on the list. It compares the bytes as they are; the list is
// in lower case, so a caller who wants "Password1" refused too asks for its lower-case form.
func Contains(password string) bool {
	var buf [longest]byte // on the stack: converting a long string would allocate
	if len(password) > len(buf) {
		return false
	}
	sum := sha256.Sum256(buf[:copy(buf[:], password)])
	return search(list, binary.BigEndian.Uint64(sum[:width]))
}

// search reports whether prefix is in the sorted list.
func search(list []byte, prefix uint64) bool {
	n := len(list) / width
	i := sort.Search(n, func(i int) bool { return at(list, i) >= prefix })
	return i < n && at(list, i) == prefix
}

func at(list []byte, i int) uint64 { return binary.BigEndian.Uint64(list[i*width:]) }
