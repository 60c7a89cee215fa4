// Package direction tells which languages are written from right to left.
package direction

import (
	"slices"

	"golang.org/x/text/language"
)

// Of returns the HTML attribute dir for a language: "rtl" or "ltr".
func Of(tag language.Tag) string {
	script, _ := tag.Script()
	if slices.Contains([]string{"Adlm", "Arab", "Hebr", "Nkoo", "Rohg", "Syrc", "Thaa"}, script.String()) {
		return "rtl"
	}
	return "ltr"
}
