package mailer

import (
	"bytes"
	"testing"
	"unicode"

	"github.com/matryer/is"
)

func TestABufferIsGivenBackEmpty(t *testing.T) {
	is := is.New(t)
	var b bytes.Buffer
	b.WriteString("the text part with " + sampleToken)
	b.Reset()
	b.WriteString("short")
	whole := b.Bytes()[:b.Cap()]
	giveBack(&b)
	is.Equal(b.Len(), 0)                        // for the next mail
	is.Equal(len(bytes.Trim(whole, "\x00")), 0) // and nothing is left of this one
}

func TestWhatIsHidden(t *testing.T) {
	is := is.New(t)
	for r := rune(0); r <= unicode.MaxRune; r++ {
		want := !unicode.IsGraphic(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
		if isHidden(r) != want {
			is.Equal(string(r), "") // as Unicode has it
		}
	}
}
