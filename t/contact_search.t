#!/usr/bin/perl
# Looking for something in a book that is larger than what one call looks at
# (F4; docs/contacts.md, "Searching").

use strict;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;

my $t = CardxTest->new->start;
my $anna = { token => $t->register('+8613800003101')->{access_token} };

# Of 2 200 people four are called Needle.  Those of one file have no order.
for my $from (0, 1000, 2000) {
    my $last = $from < 2000 ? $from + 999 : 2199;
    my $r = $t->post('/v1/contacts/import', join('', map {
        "BEGIN:VCARD\nVERSION:3.0\nUID:person-$_\nFN:Person $_ "
        . ($_ =~ /^(?:0|1999|2000|2199)$/ ? 'Needle' : 'Hay')
        . "\nCATEGORIES:" . ($_ == 2199 ? 'last' : 'other') . "\nEND:VCARD\n"
    } $from .. $last), { %$anna, 'Content-Type' => 'text/vcard' });
    is($r->{json}{added}, $last - $from + 1, "$from to $last");
}

# After how many calls the book is at its end, and what was found by then.
sub look {
    my ($query) = @_;
    my ($cursor, $calls, @found) = ('', 0);
    while ($calls++ < 5000) {
        my $r = $t->get("/v1/contacts?$query$cursor", undef, $anna);
        return "status $r->{status}" if $r->{status} != 200;
        push @found, map { $_->{card}{name}{full} =~ /(\d+)/ }
            @{ $r->{json}{items} };
        last if !defined $r->{json}{next};
        $cursor = "&cursor=$r->{json}{next}";
    }
    return ($calls, sort { $a <=> $b } @found);
}

my ($calls, @found) = look('q=needle');
is("@found", '0 1999 2000 2199', 'all are found, each once');
cmp_ok($calls, '>', 1, 'not by one call');
my $r = $t->get('/v1/contacts?q=nobody', undef, $anna);
is_deeply($r->{json}{items}, [], 'a call that finds nothing');
ok($r->{json}{next}, 'says that there is more to look at');
($calls, @found) = look('q=nobody');
is("@found", '', 'until there is not');
($calls, @found) = look('q=needle&limit=1');
is("@found", '0 1999 2000 2199', 'the same one by one');
($calls, @found) = look('tag=last');
is("@found", '2199', 'by a tag');
($calls, @found) = look('tag=last&q=hay');
is("@found", '', 'by both');
($calls, @found) = look('limit=100');
is_deeply(\@found, [0 .. 2199], 'the whole book');

# --- the pool ---------------------------------------------------------------

# While those of the fast pool stand still, who looks for something is
# answered.
$t->signal($_, 'STOP') for qw(api-fast-0 api-fast-1);
is($t->get("/v1/contacts?$_", undef, $anna)->{status}, 200, "$_: elsewhere")
    for 'q=needle', 'tag=last', 'limit=1&q=needle';
$t->signal($_, 'CONT') for qw(api-fast-0 api-fast-1);
is($t->get('/v1/contacts?limit=1', undef, $anna)->{status}, 200,
    'the list is answered again');

$t->finish;
done_testing;
