package CardxTest::Media;

# Small media of known content, made without any library.

use strict;
use warnings;

use Compress::Zlib ();
use Exporter 'import';
use MIME::Base64 ();

our @EXPORT = qw(png jpeg phone_photo wav mp4 size_of);

# An opaque picture of one colour.
sub png {
    my ($width, $height, @rgb) = @_;
    @rgb = (200, 60, 20) unless @rgb;
    my $rows = ("\0" . pack('C3', @rgb) x $width) x $height;
    return "\x89PNG\r\n\x1a\n"
        . chunk('IHDR', pack('NNCCCCC', $width, $height, 8, 2, 0, 0, 0))
        . chunk('IDAT', Compress::Zlib::compress($rows))
        . chunk('IEND', '');
}

sub chunk {
    my ($type, $data) = @_;
    return pack('N', length $data) . $type . $data
        . pack('N', Compress::Zlib::crc32($type . $data));
}

# 24 x 16: left red, right blue.
sub jpeg {
    return MIME::Base64::decode(<<'END');
/9j/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywt
QFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09P
T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAQABgDASIA
AhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAABAAF/8QAGBABAAMBAAAAAAAAAAAAAAAA
AARCgcH/xAAVAQEBAAAAAAAAAAAAAAAAAAAGAP/EABoRAAEFAQAAAAAAAAAAAAAAAAAB
AgU0gbH/2gAMAwEAAhEDEQA/AMYSdTeFiTqbxRFxm8UTylR+dQIkjYHn/9k=
END
}

# The same as a phone takes it: turned by its EXIF orientation 6 (shown
# upright it is 16 x 24, red above blue), with the place where it was taken
# and the phone's name.
sub phone_photo {
    my $entry = sub { pack('vvV', @_[0 .. 2]) . $_[3] };
    my $make = "Telephone Works\0";
    my $place = pack('V6', 52, 1, 31, 1, 12, 1);

    # TIFF header (8), IFD0 (2 + 3 * 12 + 4), Make (16), GPS IFD (2 + 2 * 12
    # + 4), latitude (24)
    my $tiff = "II*\0" . pack('V', 8)
        . pack('v', 3)
        . $entry->(0x010f, 2, length $make, pack('V', 50))
        . $entry->(0x0112, 3, 1, pack('vv', 6, 0))
        . $entry->(0x8825, 4, 1, pack('V', 66))
        . pack('V', 0)
        . $make
        . pack('v', 2)
        . $entry->(0x0001, 2, 2, "N\0\0\0")
        . $entry->(0x0002, 5, 3, pack('V', 96))
        . pack('V', 0)
        . $place;
    my $exif = "Exif\0\0$tiff";
    my $jpeg = jpeg();
    return substr($jpeg, 0, 2) . "\xff\xe1" . pack('n', 2 + length $exif)
        . $exif . substr($jpeg, 2);
}

# Silence of so many samples, 8 kHz.
sub wav {
    my ($samples) = @_;
    return 'RIFF' . pack('V', 36 + $samples) . 'WAVEfmt '
        . pack('VvvVVvv', 16, 1, 1, 8000, 8000, 1, 8) . 'data'
        . pack('V', $samples) . "\x80" x $samples;
}

# No film, but it starts like one; every 16 bytes tell where they are.
sub mp4 {
    my ($bytes) = @_;
    my $start = pack('N', 24) . 'ftypisom' . pack('N', 512) . 'isommp42';
    my $rest = join '', map { sprintf '%015d|', $_ } 1 .. $bytes / 16;
    return substr $start . $rest, 0, $bytes;
}

# Width and height of a JPEG, PNG or lossy WebP.
sub size_of {
    my ($picture) = @_;
    return unpack 'x16 NN', $picture if $picture =~ /^\x89PNG/;
    return map { $_ & 0x3fff } unpack 'x26 vv', $picture
        if $picture =~ /^RIFF....WEBPVP8 /s;
    return reverse unpack 'n2', $1
        if $picture =~ /\xff[\xc0\xc1\xc2]..\x08(....)/s;
    return;
}

1;
