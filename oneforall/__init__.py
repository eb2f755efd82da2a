"""A trained model in Python, ready to use.

    from oneforall import load

    load("runs/photos").predict("cat.jpg")[0].name
    load("runs/en-de").translate("A man is sleeping.")

One file per kind of model; `commands/` has the command lines for them.
"""

from oneforall.hidden import explain_hidden

try:
    from oneforall.image_model import ImageModel as ImageModel
    from oneforall.image_model import Prediction as Prediction
    from oneforall.loading import load as load
    from oneforall.text_model import TextModel as TextModel
except ModuleNotFoundError as error:
    if (explained := explain_hidden(error)) is None:
        raise
    raise explained from error
