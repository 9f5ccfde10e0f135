"""Invented artists and titles; none is the name of a real track of the datasets."""

# In alphabetical order, so that tracks listed by name keep the order of their numbers: the parts
# that a split cuts from such a list then hold similar shares of instrumentals.
_FIRST_WORDS = (
    "Abel Amber Anika Aster Beryl Birch Bramble Calder Cinder Clove Copper Cygnet Dahlia "
    "Delft Dorne Ember Esker Fable Fennel Garnet Gorse Hollis Ibis Indigo Jasper Juniper "
    "Kestrel Lantern Linden Marlow Mistral Nettle Nimbus Ochre Orla Pewter Quarry Quill "
    "Rowan Saffron Sorrel Tamsin Teasel Umber Vesper Wicker Yarrow Zephyr"
)
_SECOND_WORDS = (
    "Arcade|& The Tides|O'Farrow|Brothers|Lindqvist|Assembly|Quartet No. 9|Halloway|and Sons|"
    "Ferrière|Orchard|Social Club|Møller|Parade|Station|(Trio)|Castaway|Exchange|Nuñez|"
    "Underground|D'Arbel|Kites|Vance"
)
_TITLE_LIST = (
    "Paper Lighthouse|Don't Count the Rain|Slow Harbour|Salt & Cinnamon|Every Second Window|"
    "Zuhause|Half a Lantern|What the Ferryman's Daughter Said|Café Noon|Tin Roof Weather|"
    "Borrowed Bicycle|Under Glass, Over Water|Nine Small Keys|You Weren't There|"
    "Long Way Down the Stairs|Marzipan|The Orchard Map|Little Engines|Crème de Nuit|"
    "Northbound (Again)|Feathers in the Gearbox|St. Elmo's Laundry|A Kinder Tuesday|"
    "Wire & Willow|Postcards, Unsent|Sleeping Giants' Waltz|Copper Rain|Mirror Lake Hotel|"
    "If the Clock Forgets"
)
_FIRST, _SECOND = _FIRST_WORDS.split(), _SECOND_WORDS.split("|")
_TITLES = _TITLE_LIST.split("|")


def artist_name(number: int) -> str:
    """The artist with that number."""
    lap = number // len(_FIRST)
    second = _SECOND[(7 * number + 5 * lap) % len(_SECOND)]
    return f"{_FIRST[number % len(_FIRST)]} {second}"


def title_name(number: int) -> str:
    """The title of the track with that number."""
    lap = number // len(_TITLES)
    title = _TITLES[(11 * number) % len(_TITLES)]
    return f"{title} {lap + 1}" if lap else title


def camel_case(name: str) -> str:
    """A name as MedleyDB's folders have it: ASCII letters and digits, every word capitalised."""
    plain = name.translate(str.maketrans("éèøñ", "eeon", "'’"))
    words = "".join(letter if letter.isalnum() else " " for letter in plain)
    return "".join(word[0].upper() + word[1:] for word in words.split())
