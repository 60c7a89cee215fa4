package mailer_test

import (
	"testing"

	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
)

func BenchmarkRender(b *testing.B) {
	r := newRenderer(b, &mailer.Options{SupportURL: "https://example.com/help"})
	for _, locale := range r.Locales() {
		for _, kind := range kinds {
			b.Run(locale+"/"+string(kind), func(b *testing.B) {
				m := spy.Message(kind)
				m.Locale = locale
				b.ReportAllocs()
				for b.Loop() {
					if _, err := r.Render(m); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
